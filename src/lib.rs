//! Decides whether a model must be trained again, and moves trained models to and from a store.
//!
//! The binary `ml-cache` is a thin shell around this library. ARCHITECTURE.md shows how the modules
//! depend on each other. docs/formats.md describes the stored documents.

pub mod action;
pub mod beneath;
pub mod catalog;
pub mod cli;
pub mod commands;
pub mod decide;
pub mod environment;
pub mod error;
pub mod fingerprint;
pub mod format;
pub mod github;
pub mod lock;
pub mod outcome;
pub mod ownership;
pub mod progress;
pub mod regular_file;
pub mod report;
pub mod retry;
pub mod sanitize;
pub mod secrets;
pub mod settings;
pub mod shell;
pub mod stamp;
pub mod store;
pub mod transfer;
pub mod unfinished;
pub mod workflow;

pub use error::{Error, Result};
