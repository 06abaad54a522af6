//! The integration tests: the binary and the library against real files, real servers and
//! official clients. One binary, so that everything is linked once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub
)]

mod action;
mod architecture;
mod bad_input;
mod careless;
mod conformance;
mod damage;
mod flow;
mod generated;
mod golden;
mod independent;
mod kill;
mod memory;
mod patterns;
mod races;
mod reusable_workflow;
mod s3_faults;
mod support;
mod threat_model;
