//! The conformance suite of hpbench for this backend: the contract in executable form.

#[macro_use]
#[path = "../../tests/conformance/suite.rs"]
mod suite;

suites! {
    hpbench_example:
    std_net: StdSocket through sockets;
}
