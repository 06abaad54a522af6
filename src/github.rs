//! What the GitHub runner gives and takes: the run's context, commands, files, the job summary.

pub mod command;
pub mod event;
pub mod file_command;
pub mod summary;

pub use event::{CacheMode, RunContext};
