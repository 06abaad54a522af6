//! The S3 adapter, on the official SDK.
//!
//! An object is written in one request with its SHA-256 in `x-amz-checksum-sha256`, so the store
//! refuses damaged bytes. The same digest is the signed payload hash, so bytes are hashed once.
//!
//! Source: Amazon S3 API Reference, PutObject, GetObject, HeadObject. Conditional writes: S3 User
//! Guide, "Add preconditions to S3 operations with conditional requests".

mod body;
mod errors;
mod http;
mod identity;
mod lenient;
mod profile;
mod retry;
mod watch;
mod web_page;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use self::http::Network;
pub use self::retry::by_status as retry_by_status;
use async_trait::async_trait;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::identity::IdentityCache;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
pub use aws_credential_types::provider::SharedCredentialsProvider as CredentialsSource;
use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{
    ConfigBag, Intercept, RequestChecksumCalculation, ResponseChecksumValidation, RuntimeComponents,
};
use aws_sdk_s3::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{ChecksumMode, ChecksumType, StorageClass};
use aws_sdk_s3::{Client, config};
use aws_types::service_config::ServiceConfigKey;
use futures::StreamExt as _;

use identity::Found;
use watch::{Watch, Watched};

use super::location::Credentials;
use super::{
    Condition, Encryption, Key, Meta, Object, Payload, S3Options, Store, StoreError,
    StoreErrorKind, Version,
};
use crate::error::{Error, Result as MainResult};
use crate::format::Digest;
use crate::sanitize;
use crate::shell::quoted;

/// The limit for opening a connection. A slower connection does not come at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The limit from the start of a request without a body to the first byte of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// A PUT times out below this speed, in bytes a second. It is low because many requests share a
/// line.
const SLOWEST_PUT: u64 = 16 << 10;
/// The limit for a pause within an answer's body.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A store in an S3 bucket.
#[derive(Debug)]
pub struct S3Store {
    client: Client,
    bucket: String,
    /// Empty, or ends with a slash.
    prefix: String,
    description: String,
    found: Found,
    /// Whether requests are signed.
    signs: bool,
    /// The proxy for requests to the store, without credentials.
    proxy: Option<String>,
    encryption: Option<Encryption>,
    /// The address that replaces the address of AWS.
    endpoint: Option<String>,
    watch: Arc<Watch>,
}

impl S3Store {
    /// Finds the region and the sources of credentials. Sends no request to the store.
    ///
    /// # Errors
    /// The region is unknown.
    pub async fn open(
        bucket: &str,
        prefix: &str,
        options: &S3Options,
        role: Option<(String, CredentialsSource)>,
    ) -> MainResult<Self> {
        let (found, watch) = (Found::default(), Arc::<Watch>::default());
        let Config { shared, endpoint, proxy } = load_config(bucket, options, role, &found).await?;
        // An unset variable of a workflow leaves AWS_REGION empty.
        let is_known = shared.region().is_some_and(|region| !region.as_ref().is_empty());
        if !is_known && endpoint.is_none() {
            return Err(Error::bad_input(format!(
                "the region of the bucket `{bucket}` is unknown"
            ))
            .hint("set `region` as an input or in `ml-cache.yml`, or set AWS_REGION"));
        }
        let mut builder = config::Builder::from(&shared)
            .retry_partition(retry::quota())
            .retry_classifier(retry::ByStatus)
            .interceptor(web_page::NoWebPage)
            .interceptor(lenient::Lenient)
            .interceptor(Watched(watch.clone()))
            .force_path_style(options.force_path_style.unwrap_or(endpoint.is_some()))
            // `put` sets the digest itself. With another setting, the SDK would hash all bytes
            // again.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(url) = &endpoint {
            builder = builder.endpoint_url(url);
        }
        if !is_known {
            // S3-compatible services usually sign with this region.
            builder = builder.region(Region::from_static("us-east-1"));
        }
        let signs = shared.credentials_provider().is_some();
        if !signs {
            builder = builder.allow_no_auth();
            found.set("none: the requests are not signed");
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self {
            client: Client::from_conf(builder.build()),
            description: format!("s3://{bucket}/{}", prefix.trim_end_matches('/'))
                .trim_end_matches('/')
                .to_owned(),
            bucket: bucket.to_owned(),
            prefix,
            found,
            signs,
            proxy,
            encryption: options.encryption.clone(),
            endpoint,
            watch,
        })
    }

    fn translate<E>(
        &self,
        action: &'static str,
        key: &Key,
        error: SdkError<E, HttpResponse>,
    ) -> StoreError
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let mut error = errors::translate(action, key, &self.bucket, error);
        let is_of_the_way =
            matches!(error.kind, StoreErrorKind::Unreachable | StoreErrorKind::Other);
        if is_of_the_way && let Some(proxy) = &self.proxy {
            error.reason = format!("{} (through the proxy {proxy})", error.reason);
        }
        match error.kind {
            StoreErrorKind::Denied if !self.signs => error.hint(
                "use credentials, or let everybody read there: deploy/README.md has the statement \
                 of a bucket policy; without `s3:ListBucket` in it, S3 answers 403 for a missing \
                 object",
            ),
            _ => error,
        }
    }

    fn full_key(&self, key: &Key) -> String {
        key.below(&self.prefix)
    }
}

/// The configuration of the SDK, and the facts that it does not have.
struct Config {
    shared: SdkConfig,
    /// The address that replaces the address of AWS.
    endpoint: Option<String>,
    /// The proxy for requests to the store, without credentials.
    proxy: Option<String>,
}

async fn load_config(
    bucket: &str,
    options: &S3Options,
    role: Option<(String, CredentialsSource)>,
    found: &Found,
) -> MainResult<Config> {
    let aws = format!("https://{bucket}.s3.amazonaws.com");
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .no_credentials()
        .http_client(identity::patient(options.network.client(&aws)?))
        .retry_config(retry::config())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(ANSWER_TIMEOUT)
                .build(),
        );
    if role.is_some() {
        // The source of a role's credentials keeps and renews them itself.
        loader = loader.identity_cache(IdentityCache::no_cache());
    }
    if let Some(region) = &options.region {
        loader = loader.region(Region::new(region.clone()));
    } else if options.endpoint_url.is_some() {
        // A custom endpoint needs no region from the instance metadata service, which would cost
        // time.
        let here = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new());
        loader = loader.region(here.or_else(ProfileFileRegionProvider::new()));
    }
    let shared = loader.load().await;
    let endpoint = options
        .endpoint_url
        .clone()
        .or_else(|| setting(&shared, "AWS_ENDPOINT_URL", "endpoint_url"))
        .or_else(|| shared.endpoint_url().map(str::to_owned));
    let ca_bundle = setting(&shared, "AWS_CA_BUNDLE", "ca_bundle").map(PathBuf::from);
    let network = Network { ca_bundle, ..options.network.clone() };
    let address = endpoint.as_deref().unwrap_or(&aws);
    let client = network.client(address)?;
    let source = match (role, options.credentials) {
        (Some((name, source)), _) => Some(found.named(name, source)),
        (None, Credentials::Usual) => Some(identity::usual(found, &shared, client.clone())),
        (None, Credentials::Keys) => Some(identity::keys(found)),
        (None, Credentials::Missing(lack)) => Some(CredentialsSource::new(identity::Missing(lack))),
        (None, Credentials::Unsigned) => None,
    };
    let proxy = network.proxy_for(address);
    let mut builder = shared.into_builder().http_client(client);
    builder.set_credentials_provider(source);
    Ok(Config { shared: builder.build(), endpoint, proxy })
}

/// Returns a setting of the AWS environment or configuration.
fn setting(shared: &SdkConfig, variable: &str, property: &str) -> Option<String> {
    let key = ServiceConfigKey::builder().service_id("s3").env(variable).profile(property).build();
    shared.service_config()?.load_config(key.ok()?).filter(|value| !value.is_empty())
}

#[async_trait]
impl Store for S3Store {
    fn describe(&self) -> &str {
        &self.description
    }

    fn credentials(&self) -> Option<String> {
        self.found.name()
    }

    fn strain(&self) -> u64 {
        self.watch.strain()
    }

    fn latency(&self) -> Option<Duration> {
        self.watch.latency()
    }

    fn removal(&self, key: &Key) -> String {
        let object = quoted(&format!("s3://{}/{}", self.bucket, self.full_key(key)));
        match &self.endpoint {
            Some(endpoint) => format!("aws s3 rm {object} --endpoint-url {}", quoted(endpoint)),
            None => format!("aws s3 rm {object}"),
        }
    }

    async fn put(
        &self,
        key: &Key,
        payload: Payload,
        condition: Condition,
    ) -> Result<Version, StoreError> {
        let digest = payload.digest();
        // The SDK's read timeout also counts the time that the body needs.
        let patience = ANSWER_TIMEOUT + Duration::from_secs(payload.size() / SLOWEST_PUT);
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(patience)
            .build();
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.full_key(key))
            .checksum_sha256(digest.base64())
            .body(body::of(payload));
        let request = match &self.encryption {
            None => request,
            Some(Encryption { kind, kms_key_id }) => request
                .server_side_encryption(kind.as_str().into())
                .set_ssekms_key_id(kms_key_id.clone()),
        };
        let updates = matches!(condition, Condition::Unchanged(_));
        if condition == Condition::Unchanged(Version(String::new())) {
            let why = "the store gave no entity tag (`ETag`) for that object; a write could undo \
                       the work of another run";
            return Err(StoreError::new(StoreErrorKind::Other, "write", key, why)
                .hint("use a store with entity tags, and no proxy before it that removes them"));
        }
        let request = match condition {
            Condition::None => request,
            Condition::Absent => request.if_none_match("*"),
            Condition::Unchanged(version) => request.if_match(version.0),
        };
        let answer = request
            .customize()
            .interceptor(SignWithDigest(digest.hex()))
            .config_override(config::Builder::new().timeout_config(timeouts))
            .send()
            .await
            .map_err(|error| self.translate("write", key, error))
            .map_err(|error| match error.kind {
                // The answer 412 does not say which condition failed.
                StoreErrorKind::Exists if updates => {
                    StoreError { kind: StoreErrorKind::Changed, ..error }
                }
                _ => error,
            })?;
        Ok(version(answer.e_tag))
    }

    async fn check_writable(&self, key: &Key) -> Result<(), StoreError> {
        // No object has this version. S3 checks the rights before the condition, so the refusal
        // tells them apart.
        let never =
            Condition::Unchanged(Version("\"00000000000000000000000000000000\"".to_owned()));
        match self.put(key, Payload::new(Vec::new()), never).await {
            Ok(_) => Ok(()),
            Err(error)
                if matches!(error.kind, StoreErrorKind::Changed | StoreErrorKind::Conflict) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn get(&self, key: &Key) -> Result<Object, StoreError> {
        let answer = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(self.full_key(key))
            .customize()
            .interceptor(web_page::NoErrorAsObject)
            .send()
            .await
            .map_err(|error| self.translate("read", key, error))?;
        if let Some(encoding) = answer.content_encoding.as_deref().filter(|it| is_compressed(it)) {
            let encoding = sanitize::message(encoding);
            let why = format!("the answer is compressed (`content-encoding: {encoding}`)");
            return Err(StoreError::new(StoreErrorKind::Unusable, "read", key, why)
                .hint("turn off the compression of answers in the proxy before the store"));
        }
        let meta = Meta {
            size: answer.content_length.map(i64::unsigned_abs),
            version: version(answer.e_tag),
            digest: None,
            archived: false,
            ours: false,
        };
        let key = key.clone();
        let pieces = futures::stream::unfold(Some(answer.body), move |body| {
            let key = key.clone();
            async move {
                let mut body = body?;
                let broken = |reason: String| {
                    StoreError::new(StoreErrorKind::Unreachable, "read", &key, reason)
                };
                match tokio::time::timeout(STALL_TIMEOUT, body.next()).await {
                    Ok(None) => None,
                    Ok(Some(Ok(piece))) => Some((Ok(piece), Some(body))),
                    Ok(Some(Err(error))) => {
                        let reason =
                            format!("the transfer broke off: {}", errors::root_cause(&error));
                        Some((Err(broken(reason)), None))
                    }
                    Err(_) => {
                        let reason = format!(
                            "the store sent no data for {} seconds",
                            STALL_TIMEOUT.as_secs()
                        );
                        Some((Err(broken(reason)), None))
                    }
                }
            }
        });
        Ok(Object { meta, body: pieces.boxed() })
    }

    async fn head(&self, key: &Key) -> Result<Option<Meta>, StoreError> {
        let answer = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(self.full_key(key))
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(Some(Meta {
                archived: is_archived(&answer),
                digest: stored_digest(&answer),
                ours: false,
                size: answer.content_length.map(i64::unsigned_abs),
                version: version(answer.e_tag),
            })),
            Err(error) => match self.translate("look up", key, error) {
                error if error.kind == StoreErrorKind::NotFound => Ok(None),
                error => Err(error),
            },
        }
    }
}

/// Returns the version for an entity tag. A proxy that compresses marks the tag as weak, but no
/// store has a weak tag, and `If-Match` accepts none. Source: RFC 9110, sections 8.8.1 and 13.1.1.
/// Some gateways send an empty tag, which tells no more than none.
fn version(tag: Option<String>) -> Version {
    let tag = tag.unwrap_or_default();
    let strong = tag.strip_prefix("W/").unwrap_or(&tag);
    Version(if strong == "\"\"" { String::new() } else { strong.to_owned() })
}

/// Returns whether an encoding changes the bytes. No object of ours has an encoding. Some services
/// keep the encoding of an upload, which they have undone.
fn is_compressed(encodings: &str) -> bool {
    let changes = |it: &str| !matches!(it.trim(), "" | "identity" | "aws-chunked");
    encodings.to_ascii_lowercase().split(',').any(changes)
}

/// Returns the SHA-256 of the whole object, if the service computed it. The checksum of a multipart
/// upload is another number.
///
/// Source: Amazon S3 API Reference, HeadObject: `x-amz-checksum-sha256` and `x-amz-checksum-type`.
/// Services from before the second header leave it out.
fn stored_digest(answer: &HeadObjectOutput) -> Option<Digest> {
    match answer.checksum_type {
        None | Some(ChecksumType::FullObject) => {
            answer.checksum_sha256.as_deref().and_then(Digest::from_base64)
        }
        Some(_) => None,
    }
}

/// Returns whether the object's bytes can be read only after a request to the archive.
///
/// Source: Amazon S3 API Reference, HeadObject: `x-amz-storage-class`, `x-amz-archive-status` and
/// `x-amz-restore`.
fn is_archived(answer: &HeadObjectOutput) -> bool {
    let class = answer.storage_class.as_ref();
    let is_archive = matches!(class, Some(StorageClass::Glacier | StorageClass::DeepArchive))
        || answer.archive_status.is_some();
    let is_back =
        answer.restore.as_ref().is_some_and(|text| text.contains("ongoing-request=\"false\""));
    is_archive && !is_back
}

/// Gives the signer the payload's SHA-256, so that it does not hash the bytes again.
#[derive(Debug)]
struct SignWithDigest(String);

impl Intercept for SignWithDigest {
    fn name(&self) -> &'static str {
        "SignWithDigest"
    }

    fn modify_before_signing(
        &self,
        _context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        bag.interceptor_state().store_put(PayloadSigningOverride::Precomputed(self.0.clone()));
        Ok(())
    }
}
