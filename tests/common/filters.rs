//! Runs something behind a seccomp filter, so that the kernel seems to lack features.

use std::collections::BTreeMap;
use std::thread;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// Runs something behind a filter that fails these system calls with `errno`.
pub(crate) fn filtered<T: Send>(calls: &[i64], errno: i32, run: impl FnOnce() -> T + Send) -> T {
    under_filter(calls.iter().map(|&call| (call, Vec::new())).collect(), errno, run)
}

/// Runs something behind a filter that fails one system call with `errno`, if its arguments have these values.
pub(crate) fn filtered_by<T: Send>(
    call: i64,
    arguments: &[(u8, i32)],
    errno: i32,
    run: impl FnOnce() -> T + Send,
) -> T {
    // The highest bit of a registration says only how it names its ring.
    let equal = SeccompCmpOp::MaskedEq(0x7fff_ffff);
    let condition =
        |&(index, value)| SeccompCondition::new(index, SeccompCmpArgLen::Dword, equal.clone(), value as u64);
    let conditions: Result<Vec<_>, _> = arguments.iter().map(condition).collect();
    let rule = SeccompRule::new(conditions.expect("valid conditions")).expect("a valid rule");
    under_filter(BTreeMap::from([(call, vec![rule])]), errno, run)
}

fn under_filter<T: Send>(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32, run: impl FnOnce() -> T + Send) -> T {
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno as u32),
        TargetArch::try_from(std::env::consts::ARCH).expect("seccompiler knows this architecture"),
    );
    let program = BpfProgram::try_from(filter.expect("a valid filter")).expect("it compiles");
    // The filter applies to this thread, and to the process that it starts.
    let run = || {
        seccompiler::apply_filter(&program).expect("the kernel takes a filter");
        run()
    };
    thread::scope(|scope| scope.spawn(run).join().expect("it ends"))
}
