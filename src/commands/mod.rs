//! One folder for each verb; what a verb prints is in its folder.

pub mod agent;
pub(crate) mod bench;
pub mod compare;
pub mod doctor;
pub(crate) mod found;
pub mod lab;
pub(crate) mod plan_file;
pub mod report;
pub mod run;
pub mod search;
pub mod selftest;
pub mod show;
pub(crate) mod table;
