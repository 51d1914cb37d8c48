//! What is kept: rows, the files that hold them, and the environment that they were measured in.

pub(crate) mod append;
pub mod cell;
pub mod column;
pub mod columns;
pub mod document;
pub mod environment;
pub mod format;
pub mod hlog;
pub mod lat_tail;
pub mod locked;
pub mod output;
pub(crate) mod preload;
pub mod resume;
pub mod row;
pub mod rows;
