//! One folder for each verb; what a verb prints is in its folder.

pub mod doctor;
pub mod lab;
pub mod report;
pub mod run;
pub mod selftest;
