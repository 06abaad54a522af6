//! What the tests share: running the binary, S3 servers, trees of files.

pub mod cli;
pub mod double;
pub mod s3;
