//! Artifacts of the running workflow run, through the results service.
//!
//! The protocol is Twirp with JSON bodies. Source: recorded requests of npm's @actions/artifact 6.
//! Every service and client understands version 4 of the artifact format, so the code uses that
//! version.

mod service;

use std::cmp::Reverse;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

pub use self::service::ResultsService;
use self::service::{FINALIZE, LIST, MAX_ANSWER, RETRY, Refusal, passes};
use super::archive;
use crate::error::{Error, Result};
use crate::format::ZipId;
use crate::format::artifact::{is_of, is_own};
use crate::retry::{Failure, Policy};

/// For the names of an artifact. After a refused name, the next attempt begins at once.
const NAMES: Policy = Policy { attempts: 3, pause: Duration::ZERO, ..RETRY };

/// An artifact that the results service has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// The artifact's name. An upload may have added a suffix.
    pub name: String,
    /// The artifact's number at GitHub, as text.
    pub id: String,
    /// SHA-256 of the zip.
    pub digest: ZipId,
}

/// An artifact of this run, as the results service lists it.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    /// The artifact's name.
    #[serde(default)]
    pub name: String,
    #[serde(default, alias = "databaseId", deserialize_with = "number_or_text")]
    database_id: String,
    #[serde(default, alias = "workflowRunBackendId")]
    workflow_run_backend_id: String,
    #[serde(default, alias = "workflowJobRunBackendId")]
    workflow_job_run_backend_id: String,
    #[serde(default, deserialize_with = "number_or_text")]
    size: String,
}

#[derive(Deserialize)]
struct Created {
    #[serde(default)]
    ok: bool,
    #[serde(default, alias = "signedUploadUrl")]
    signed_upload_url: String,
}

#[derive(Deserialize)]
struct Finalized {
    #[serde(default)]
    ok: bool,
    #[serde(default, alias = "artifactId", deserialize_with = "number_or_text")]
    artifact_id: String,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    artifacts: Vec<Entry>,
}

#[derive(Deserialize)]
struct Signed {
    #[serde(default, alias = "signedUrl")]
    signed_url: String,
}

impl ResultsService {
    /// Uploads a pointer under the name. If the name is taken, adds a suffix.
    ///
    /// # Errors
    /// The results service refuses, or cannot be reached.
    pub async fn upload(
        &self,
        name: &str,
        pointer: &[u8],
        retention_days: Option<u32>,
    ) -> Result<Uploaded> {
        let zip = archive::pack(pointer)?;
        let digest = ZipId::of(&zip);
        let mut candidate = name.to_owned();
        let attempt = || {
            // A failed attempt burns its name for the rest of the run, so the next attempt has
            // another name. A lost answer may leave two artifacts. Readers accept both.
            let other = format!("{name}-{:08x}", rand::random::<u32>());
            let name = std::mem::replace(&mut candidate, other);
            let (zip, digest) = (&zip, digest);
            async move {
                match self.upload_as(&name, zip, &digest, retention_days).await {
                    Ok(id) => Ok(Uploaded { name, id, digest }),
                    Err(refusal) => Err(Failure::passing_if(refusal.is_taken, refusal)),
                }
            }
        };
        NAMES.run(attempt).await.map_err(|refusal| match refusal.is_taken {
            true => Error::failed(format!(
                "cannot upload the artifact `{name}`: the results service refused every name that \
                 was tried"
            ))
            .caused_by(refusal.why),
            false => refusal.why,
        })
    }

    async fn upload_as(
        &self,
        name: &str,
        zip: &[u8],
        digest: &ZipId,
        retention_days: Option<u32>,
    ) -> std::result::Result<String, Refusal> {
        let mut request = json!({ "name": name, "version": 4 });
        let days =
            retention_days.map(|days| self.max_retention_days.map_or(days, |most| days.min(most)));
        let expires = days.and_then(|days| {
            Timestamp::now().checked_add(SignedDuration::from_hours(24 * i64::from(days))).ok()
        });
        if let Some(expires) = expires {
            request["expires_at"] = json!(expires.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string());
        }
        let created: Created = self.call("CreateArtifact", request).await?;
        if !created.ok || created.signed_upload_url.is_empty() {
            return Err(Refusal::new(Error::failed(
                "the results service refused to create the artifact",
            )));
        }
        self.hide_signature(&created.signed_upload_url);
        self.put_blob(&created.signed_upload_url, zip).await?;
        let request =
            json!({ "name": name, "size": zip.len().to_string(), "hash": digest.to_string() });
        let finalized: Finalized = self.call(FINALIZE, request).await?;
        if !finalized.ok {
            return Err(Refusal::taken(Error::failed(format!(
                "the results service refused to complete the artifact `{name}`"
            ))));
        }
        Ok(finalized.artifact_id)
    }

    /// Lists the artifacts of this run; with a name, only the artifacts of that name.
    async fn list(&self, name: Option<&str>) -> Result<Vec<Entry>> {
        let request = name.map_or_else(|| json!({}), |name| json!({ "name_filter": name }));
        match self.call::<Listed>(LIST, request).await {
            Ok(listed) => Ok(listed.artifacts),
            // act's server resets the connection while the run has no artifact.
            Err(_) if self.is_act => Ok(Vec::new()),
            Err(refusal) => Err(refusal.why),
        }
    }

    /// Downloads the pointer in an artifact of this name, or of this name and a suffix.
    ///
    /// The exact name comes first. Among several artifacts with a suffix, the newest counts.
    ///
    /// # Errors
    /// - This run has no such artifact.
    /// - The artifact holds no pointer.
    /// - The results service or its storage refuses, or cannot be reached.
    pub async fn download(&self, name: &str) -> Result<Vec<u8>> {
        // The service filters by whole names only. Its answer without a filter may lack artifacts
        // of a large run.
        let mut found = self.list(Some(name)).await?;
        if !found.iter().any(|entry| entry.name == name) {
            found = self.list(None).await?;
        }
        found.retain(|entry| is_of(&entry.name, name));
        found.sort_by_key(|entry| {
            (entry.name == name, entry.database_id.parse::<u64>().unwrap_or(0))
        });
        let Some(entry) = found.pop() else {
            return Err(Error::not_found(format!("this run has no artifact `{name}`")));
        };
        self.fetch(&entry).await
    }

    /// Returns the pointers that this run saved itself, in any attempt, newest first.
    ///
    /// `prefix` begins the names of the model's artifacts. Pointers that the run only adopted are
    /// left out.
    ///
    /// # Errors
    /// - An artifact holds no pointer.
    /// - The results service or its storage refuses, or cannot be reached.
    pub async fn saved(&self, prefix: &str) -> Result<Vec<Vec<u8>>> {
        let mut found = self.list(None).await?;
        found.retain(|entry| is_own(&entry.name, prefix));
        found.sort_by_key(|entry| Reverse(entry.database_id.parse::<u64>().unwrap_or(0)));
        let mut pointers = Vec::new();
        for entry in &found {
            pointers.push(self.fetch(entry).await?);
        }
        Ok(pointers)
    }

    async fn fetch(&self, entry: &Entry) -> Result<Vec<u8>> {
        let name = &entry.name;
        if entry.size.parse::<usize>().is_ok_and(|size| size > archive::MAX_BYTES) {
            return Err(Error::failed(format!(
                "the artifact `{name}` is too large to hold a pointer"
            )));
        }
        let request = json!({
            "workflow_run_backend_id": entry.workflow_run_backend_id,
            "workflow_job_run_backend_id": entry.workflow_job_run_backend_id,
            "name": name,
        });
        let signed: Signed = self.call("GetSignedArtifactURL", request).await?;
        self.hide_signature(&signed.signed_url);
        // The URL carries its own credential, so the storage must not see the runtime token.
        let get = || self.http.get(&signed.signed_url);
        let zip = self
            .repeat("download", archive::MAX_BYTES, get, |status, body| match status.is_success() {
                true => Ok(body),
                false => {
                    let why = format!(
                        "cannot download the artifact `{name}`: its storage answered {status}"
                    );
                    Err(Failure::passing_if(passes(status), Refusal::new(Error::failed(why))))
                }
            })
            .await?;
        archive::unpack(&zip)
    }

    /// Uploads a block and then the list of blocks. Storage other than GitHub's stores nothing
    /// without the list.
    async fn put_blob(&self, url: &str, zip: &[u8]) -> std::result::Result<(), Refusal> {
        let block = STANDARD.encode(format!("{:032x}", rand::random::<u128>()));
        let encoded = block.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        // The signature must stay exactly as the service wrote it, so the code only appends to the
        // query.
        let put = |query: String, kind: &'static str, body: Vec<u8>| {
            let request =
                self.http.put(format!("{url}&{query}")).header("x-ms-version", "2021-12-02");
            let request = request.header("Content-Type", kind).body(body);
            if kind == "application/xml" {
                request.header("x-ms-blob-content-type", "application/zip")
            } else {
                request
            }
        };
        let list = format!(
            "<?xml version=\"1.0\" \
             encoding=\"utf-8\"?><BlockList><Latest>{block}</Latest></BlockList>"
        );
        for (query, kind, body) in [
            (format!("comp=block&blockid={encoded}"), "application/octet-stream", zip.to_vec()),
            ("comp=blocklist".to_owned(), "application/xml", list.into_bytes()),
        ] {
            let put = || put(query.clone(), kind, body.clone());
            self.repeat("upload", MAX_ANSWER, put, |status, _| match status.is_success() {
                true => Ok(()),
                false => {
                    let why = format!("cannot upload the artifact: its storage answered {status}");
                    Err(Failure::passing_if(passes(status), Refusal::new(Error::failed(why))))
                }
            })
            .await?;
        }
        Ok(())
    }
}

/// Reads a number or its text. Protocol buffers put 64-bit integers into JSON as text, but some
/// servers use numbers.
fn number_or_text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    })
}
