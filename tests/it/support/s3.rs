//! S3 servers for tests: SeaweedFS as a process, `s3s` inside this one.
