//! The processor's order of execution.

/// Lets no later instruction begin before all earlier ones are done: what is timed or added on one side of it does not
/// overlap with what is on the other. On processors other than x86-64 and AArch64 it does nothing.
#[inline(always)]
pub fn wait_for_instructions() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: LFENCE is part of SSE2, which every x86-64 processor has; it touches no memory.
    unsafe {
        std::arch::x86_64::_mm_lfence();
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a data barrier and an instruction barrier change neither registers nor memory.
    unsafe {
        std::arch::asm!("dsb nsh", "isb", options(nostack, preserves_flags));
    }
}
