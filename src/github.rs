//! What the GitHub runner gives and takes: the run's context, commands, files, the job summary.

pub mod archive;
pub mod artifact;
pub mod command;
pub mod event;
pub mod file_command;
pub mod http;
pub mod oidc;
pub mod rest;
