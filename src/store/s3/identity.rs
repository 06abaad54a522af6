//! The sources of credentials, each with a name for people.

use std::sync::{Arc, OnceLock};

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_config::{BehaviorVersion, SdkConfig, ecs, imds};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_s3::config::http::HttpRequest;
use aws_sdk_s3::config::{RuntimeComponents, SharedHttpClient};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::result::ConnectorError;

use super::super::location::Lack;
use super::errors::root_cause;
use super::profile::ProfileSource;
use super::retry;
use crate::error::Error;
use crate::sanitize;

/// The name of the source that first gave credentials.
#[derive(Clone, Debug, Default)]
pub(super) struct Found(Arc<OnceLock<String>>);

impl Found {
    pub(super) fn name(&self) -> Option<String> {
        self.0.get().cloned()
    }

    pub(super) fn set(&self, name: &str) {
        self.0.get_or_init(|| name.to_owned());
    }

    /// Returns a source that leaves its name here when it gives credentials.
    pub(super) fn named(
        &self,
        name: impl Into<String>,
        source: impl ProvideCredentials + 'static,
    ) -> SharedCredentialsProvider {
        let source = SharedCredentialsProvider::new(source);
        SharedCredentialsProvider::new(Named { name: name.into(), source, found: self.clone() })
    }
}

/// A source with a name. It hides its keys, because a server may repeat them in an answer.
#[derive(Debug)]
struct Named {
    name: String,
    source: SharedCredentialsProvider,
    found: Found,
}

impl ProvideCredentials for Named {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let credentials = self.source.provide_credentials().await?;
            let keys = [credentials.access_key_id(), credentials.secret_access_key()];
            keys.into_iter().chain(credentials.session_token()).for_each(sanitize::hide);
            self.found.set(&self.name);
            Ok(credentials)
        })
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.source.fallback_on_interrupt()
    }
}

/// Returns the source that takes only the keys of the environment.
pub(super) fn keys(found: &Found) -> SharedCredentialsProvider {
    found.named("keys of the environment", EnvironmentVariableCredentialsProvider::new())
}

/// Returns the usual AWS sources in the order of the SDK, each with its name.
///
/// The SDK's own chain does not say which of its links answered.
pub(super) fn usual(
    found: &Found,
    shared: &SdkConfig,
    client: SharedHttpClient,
) -> SharedCredentialsProvider {
    let mut conf = ProviderConfig::default()
        .with_http_client(patient(client))
        .with_behavior_version(Some(BehaviorVersion::latest()))
        .with_region(shared.region().cloned())
        .with_use_fips(shared.use_fips())
        .with_use_dual_stack(shared.use_dual_stack());
    if let Some(retries) = shared.retry_config() {
        conf = conf.with_retry_config(retries.clone());
    }
    if let Some(timeouts) = shared.timeout_config() {
        conf = conf.with_timeout_config(timeouts.clone());
    }
    let profile = ProfileSource::new(&conf);
    let token = WebIdentityTokenCredentialsProvider::builder().configure(&conf).build();
    let container = ecs::EcsCredentialsProvider::builder().configure(&conf).build();
    let machine = imds::credentials::ImdsCredentialsProvider::builder().configure(&conf).build();
    let chain = CredentialsProviderChain::first_try("Environment", keys(found))
        .or_else("Profile", found.named("a profile of the AWS configuration", profile))
        .or_else("WebIdentityToken", found.named(TOKEN, TokenSource(token)))
        .or_else("EcsContainer", found.named("the container's identity", container))
        .or_else(
            "Ec2InstanceMetadata",
            found.named("the machine's identity (instance metadata)", machine),
        );
    SharedCredentialsProvider::new(chain)
}

const TOKEN: &str = "the token in AWS_WEB_IDENTITY_TOKEN_FILE";

/// The source for a token in a file, with errors that name it.
#[derive(Debug)]
struct TokenSource(WebIdentityTokenCredentialsProvider);

impl ProvideCredentials for TokenSource {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            self.0.provide_credentials().await.map_err(|error| match error {
                CredentialsError::CredentialsNotLoaded(_) => error,
                error => CredentialsError::provider_error(
                    Error::failed(format!("{TOKEN} gives no credentials: {}", root_cause(&error)))
                        .hint(
                            "check AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN, and put the file \
                             inside the container, such as into the workspace; or set \
                             `role-to-assume`",
                        ),
                ),
            })
        })
    }
}

/// Returns a client for services that give credentials or the region. It presents a status that may
/// pass as 503.
///
/// Their clients in the SDK retry only some server errors, and most take no rule of ours.
pub(super) fn patient(client: SharedHttpClient) -> SharedHttpClient {
    SharedHttpClient::new(Busy(client))
}

#[derive(Debug)]
struct Busy<T>(T);

impl HttpClient for Busy<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Busy(self.0.http_connector(settings, components)))
    }
}

impl HttpConnector for Busy<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = self.0.call(request);
        HttpConnectorFuture::new(async {
            let mut answer = answer.await?;
            if retry::passes(answer.status().as_u16()) {
                *answer.status_mut() =
                    503.try_into().map_err(|error| ConnectorError::other(Box::new(error), None))?;
            }
            Ok(answer)
        })
    }
}

/// A source that has no credentials and says why.
#[derive(Debug)]
pub(super) struct Missing(pub(super) Lack);

impl ProvideCredentials for Missing {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::provider_error(self.0.error())))
    }
}
