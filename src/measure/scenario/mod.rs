//! The scenarios: what is measured, and how.

pub mod drain;
pub mod echo;
pub mod flood;
pub mod pace;
pub mod rounds;
pub mod send;
pub mod stream;
