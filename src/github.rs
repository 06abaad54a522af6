//! GitHub's interfaces: the runner's events, commands and files, the REST API, artifacts and OIDC.

pub mod archive;
pub mod artifact;
pub mod command;
pub mod event;
pub mod file_command;
pub mod http;
pub mod oidc;
pub mod rest;
