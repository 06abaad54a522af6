//! The integration tests: the binary and the library against real files, real servers and
//! official clients. One binary, so that everything is linked once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;
