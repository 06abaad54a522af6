//! The double of GitHub (tests/double) as a process that ends with the test.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// A running double.
pub struct Double {
    child: Child,
    pub url: String,
}

impl Double {
    pub fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/double/github.py");
        let mut child = Command::new("python3")
            .arg(script)
            .args(["--port", "0", "--until-stdin-closes"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let started: Value = serde_json::from_str(&line).unwrap();
        Self { child, url: started["url"].as_str().unwrap().to_owned() }
    }

    /// Sends a command to the double itself, such as to merge state, set faults or start a job.
    pub fn control(&self, what: &str, body: &Value) -> Value {
        let mut curl = Command::new("curl")
            .args(["--silent", "--show-error", "--fail-with-body", "--data-binary", "@-"])
            .arg(format!("{}/_control/{what}", self.url))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        curl.stdin.take().unwrap().write_all(body.to_string().as_bytes()).unwrap();
        let output = curl.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{what}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Returns the double's state, faults or recorded requests.
    pub fn look(&self, what: &str) -> Value {
        let url = format!("{}/_control/{what}", self.url);
        let output = Command::new("curl").args(["--silent", "--fail", &url]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Starts a job, and returns the variables that its runner would set.
    pub fn job(&self, more: Value) -> Vec<(String, String)> {
        let mut job = json!({
            "repository": "acme/fraud-detection", "run_id": 1001, "attempt": 1, "job": "train",
        });
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let started = self.control("runtime-token", &job);
        let variables = started["env"].as_object().unwrap();
        variables
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
