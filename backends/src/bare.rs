//! Bare loops of system calls (feature `bare`), for measuring what the harness adds to them.
