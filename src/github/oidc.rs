//! Short-lived AWS credentials. STS exchanges an OIDC token of the job for them.
//!
//! Source: "About security hardening with OpenID Connect" of GitHub's documentation,
//! actions/toolkit packages/core/src/oidc-utils.ts, and AssumeRoleWithWebIdentity of the AWS STS
//! API Reference.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::config::{BehaviorVersion, Region, SharedHttpClient};
use aws_sdk_sts::error::ProvideErrorMetadata as _;
use aws_smithy_runtime_api::client::retries::classifiers::SharedRetryClassifier;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::http;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::retry::{Failure, Policy};
use crate::sanitize;

/// The lifetime that each request to STS demands, in seconds.
const LIFETIME_SECONDS: u16 = 3600;
/// The provider renews credentials this long before their end, because a transfer may run long. For
/// short-lived credentials, a third of their life is enough.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);
/// The provider stops using credentials this long before their end, because a request takes a
/// while. For short-lived credentials, a tenth of their life is enough.
const LAST_USE: Duration = Duration::from_secs(30);
/// The longest time for a whole exchange.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest time for an exchange while the old credentials are good, because the transfer waits
/// meanwhile.
const PATIENCE_WHILE_GOOD: Duration = Duration::from_secs(15);
/// The pause after a failed renewal, while the old credentials are good. Near their end, the pause
/// is a quarter of their remaining life.
const PAUSE: Duration = Duration::from_secs(15);
/// The longest wait for an answer of STS. The SDK then tries again.
const STS_TIMEOUT: Duration = Duration::from_secs(15);
/// For token requests that meet a fault of the service.
const RETRY: Policy = Policy {
    attempts: 5,
    pause: Duration::from_millis(400),
    growth: 2.0,
    patience: PATIENCE,
    ..Policy::ONCE
};
const MAX_ANSWER: usize = 64 << 10;

/// The role to assume, and the job's means to assume it.
#[derive(Clone)]
pub struct Role {
    arn: String,
    region: String,
    session: String,
    request: Option<TokenRequest>,
    sts_endpoint: Option<String>,
}

/// The address for OIDC tokens, and the credential for that address.
#[derive(Clone)]
struct TokenRequest {
    url: String,
    token: String,
}

impl std::fmt::Debug for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token for token requests is a credential, so `Debug` leaves it out.
        f.debug_struct("Role")
            .field("arn", &self.arn)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    value: String,
}

impl Role {
    /// Collects the facts about a role, without checking that the job may get a token.
    ///
    /// A missing right fails the first request for a token. So a job that needs no token works
    /// without the right.
    ///
    /// # Errors
    /// No input and no variable names a region.
    pub fn from_environment(
        arn: &str,
        region: Option<&str>,
        environment: &Environment,
    ) -> Result<Self> {
        let url = environment.get("ACTIONS_ID_TOKEN_REQUEST_URL");
        let token = environment.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN");
        let request = url
            .zip(token)
            .map(|(url, token)| TokenRequest { url: url.to_owned(), token: token.to_owned() });
        let region = region
            .or_else(|| environment.get("AWS_REGION"))
            .or_else(|| environment.get("AWS_DEFAULT_REGION"));
        let region = region.ok_or_else(|| {
            Error::bad_input("`role-to-assume` needs a region")
                .hint("set `region` as an input or in `ml-cache.yml`, or set AWS_REGION")
        })?;
        Ok(Self {
            arn: arn.to_owned(),
            region: region.to_owned(),
            session: format!(
                "GitHubActions-{}",
                environment.get("GITHUB_RUN_ID").unwrap_or("local")
            ),
            request,
            // The AWS SDKs read the same variables. The second variable is for every service.
            sts_endpoint: ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"]
                .into_iter()
                .find_map(|name| environment.get(name))
                .map(str::to_owned),
        })
    }

    /// Returns the name of the role for people, without the number of its account.
    pub fn name(&self) -> &str {
        self.arn.split_once(":role/").map_or("", |(_, name)| name)
    }

    /// Returns the address of STS.
    pub fn endpoint(&self) -> String {
        let aws = || format!("https://sts.{}.amazonaws.com", self.region);
        self.sts_endpoint.clone().unwrap_or_else(aws)
    }

    fn audience(&self) -> &'static str {
        if self.region.starts_with("cn-") { "sts.amazonaws.com.cn" } else { "sts.amazonaws.com" }
    }
}

/// Returns a source of credentials. It assumes the role at the first request, and again before the
/// credentials expire.
///
/// The source keeps the credentials itself, so its callers need no cache.
///
/// # Errors
/// The HTTP client cannot start.
pub fn credentials(
    role: Role,
    client: SharedHttpClient,
    retries: SharedRetryClassifier,
    mask: fn(&str),
) -> Result<SharedCredentialsProvider> {
    provider(role, client, retries, mask).map(SharedCredentialsProvider::new)
}

fn provider(
    role: Role,
    client: SharedHttpClient,
    retries: SharedRetryClassifier,
    mask: fn(&str),
) -> Result<Provider> {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(STS_TIMEOUT).build();
    let mut config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(client)
        .timeout_config(timeouts)
        .retry_classifier(retries)
        .region(Region::new(role.region.clone()));
    if let Some(url) = &role.sts_endpoint {
        config = config.endpoint_url(url);
    }
    let sts = aws_sdk_sts::Client::from_conf(config.build());
    Ok(Provider { sts, http: http::client()?, role, mask, held: Mutex::default() })
}

/// Returns the end of credentials by this machine's clock.
///
/// That clock may be behind the clock of STS. So credentials never live longer than the requested
/// lifetime.
fn expiry(stated: SystemTime, asked: SystemTime) -> SystemTime {
    stated.min(asked + Duration::from_secs(LIFETIME_SECONDS.into()))
}

struct Provider {
    role: Role,
    http: reqwest::Client,
    sts: aws_sdk_sts::Client,
    mask: fn(&str),
    held: Mutex<Option<Held>>,
}

/// Credentials in use until their renewal.
struct Held {
    credentials: Credentials,
    /// The end of the credentials' life.
    end: SystemTime,
    /// The time of the next renewal. A failed renewal moves this time.
    renew: SystemTime,
    /// The time at which their use ends, shortly before the end of their life.
    last_use: SystemTime,
}

impl Held {
    fn new(credentials: Credentials, end: SystemTime, now: SystemTime) -> Self {
        let life = end.duration_since(now).unwrap_or_default();
        let (renew, last_use) = (end - RENEW_BEFORE.min(life / 3), end - LAST_USE.min(life / 10));
        Self { credentials, end, renew, last_use }
    }
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider").field("role", &self.role).finish_non_exhaustive()
    }
}

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            self.credentials().await.map_err(CredentialsError::provider_error)
        })
    }
}

impl Provider {
    /// Returns credentials that are good for a while. If a renewal fails, the old credentials stay
    /// in use until their last use.
    async fn credentials(&self) -> Result<Credentials> {
        // Other callers wait on the lock and then find the renewed credentials.
        let mut held = self.held.lock().await;
        let is_renewal = held.is_some();
        let now = SystemTime::now();
        let mut good = held.as_mut().filter(|held| now < held.last_use);
        if let Some(held) = good.as_ref().filter(|held| now < held.renew) {
            return Ok(held.credentials.clone());
        }
        let patience = if good.is_some() { PATIENCE_WHILE_GOOD } else { PATIENCE };
        let renewed = tokio::time::timeout(patience, self.exchange()).await.unwrap_or_else(|_| {
            let seconds = patience.as_secs();
            Err(Error::failed(format!(
                "cannot assume the role `{}`: no answer in {seconds} seconds",
                self.role.arn
            ))
            .hint("check `region`, and that this machine can reach STS there"))
        });
        match (renewed, &mut good) {
            (Ok(fresh), _) => {
                let credentials = fresh.credentials.clone();
                *held = Some(fresh);
                Ok(credentials)
            }
            (Err(_), Some(held)) => {
                let now = SystemTime::now();
                held.renew = now + PAUSE.min(held.end.duration_since(now).unwrap_or_default() / 4);
                Ok(held.credentials.clone())
            }
            (Err(error), None) if is_renewal => {
                let lost =
                    Error::failed(format!("cannot renew the credentials: {}", error.explanation()));
                Err(error.hints().iter().fold(lost, |lost, hint| lost.hint(hint)))
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Gets a token and exchanges it at once, because the token lives for a few minutes only.
    async fn exchange(&self) -> Result<Held> {
        let token = self.token().await?;
        (self.mask)(&token);
        self.redeem(token).await
    }

    async fn redeem(&self, token: String) -> Result<Held> {
        let asked = SystemTime::now();
        let answer = self
            .sts
            .assume_role_with_web_identity()
            .role_arn(&self.role.arn)
            .role_session_name(&self.role.session)
            .duration_seconds(LIFETIME_SECONDS.into())
            .web_identity_token(token)
            .send()
            .await
            .map_err(|error| self.refused(error))?;
        let issued =
            answer.credentials.ok_or_else(|| Error::failed("STS answered without credentials"))?;
        for secret in [&issued.access_key_id, &issued.secret_access_key, &issued.session_token] {
            (self.mask)(secret);
        }
        let stated = SystemTime::try_from(issued.expiration).map_err(|error| {
            Error::failed("STS answered with an impossible expiry time").caused_by(error)
        })?;
        let end = expiry(stated, asked);
        let session = Some(issued.session_token);
        let credentials = Credentials::new(
            issued.access_key_id,
            issued.secret_access_key,
            session,
            Some(end),
            "GitHubOidc",
        );
        Ok(Held::new(credentials, end, asked))
    }

    fn refused<R>(
        &self,
        error: aws_sdk_sts::error::SdkError<
            aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError,
            R,
        >,
    ) -> Error
    where
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        let failed = |reason: String| {
            Error::failed(format!("cannot assume the role `{}`: {reason}", self.role.arn))
        };
        match error
            .as_service_error()
            .map(|error| (error.code().unwrap_or_default(), error.message().unwrap_or_default()))
        {
            Some((code, message)) => {
                failed(format!("STS answered {code}: {}", sanitize::message(message))).hint(
                    "allow sts:AssumeRoleWithWebIdentity in the role's trust policy for this \
                     repository, this ref and the audience `sts.amazonaws.com`; the condition on \
                     `token.actions.githubusercontent.com:sub` has two possible forms, see deploy/",
                )
            }
            // The message leaves out the answer, which may contain the credentials.
            None => failed(format!("STS cannot be reached: {}", http::root_cause(&error)))
                .hint("check `region`, and that this machine can reach STS there"),
        }
    }

    async fn token(&self) -> Result<String> {
        let request = self.role.request.as_ref().ok_or_else(|| {
            Error::failed("`role-to-assume` is set, but this job cannot get an OIDC token").hint(
                "add `permissions: id-token: write` to the job, or to the caller of a reusable \
                 workflow; GitHub gives no token to pull requests from forks and, by default, from \
                 Dependabot",
            )
        })?;
        let url = format!("{}&audience={}", request.url, self.role.audience());
        let answer = RETRY.run(|| self.ask_for_token(&url, &request.token)).await?;
        Ok(answer.value)
    }

    /// Requests a token once.
    async fn ask_for_token(
        &self,
        url: &str,
        bearer: &str,
    ) -> std::result::Result<TokenAnswer, Failure<Error>> {
        let failed = |why| Error::failed("cannot get an OIDC token").caused_by(why);
        let asked = self.http.get(url).bearer_auth(bearer).header("Accept", "application/json");
        let response =
            asked.send().await.map_err(|error| Failure::passing(failed(http::broken(&error))))?;
        let status = response.status();
        if !status.is_success() {
            let why = failed(Error::failed(format!("GitHub's token service answered {status}")));
            return Err(match status.is_server_error() || status.as_u16() == 429 {
                true => Failure::passing(why).after(http::demanded_pause(response.headers())),
                false => why.hint("add `permissions: id-token: write` to the job").into(),
            });
        }
        let bytes = http::body(response, MAX_ANSWER).await.map_err(failed)?;
        let answer = serde_json::from_slice(&bytes).map_err(|_| {
            failed(Error::failed("the answer of GitHub's token service has an unknown form"))
        })?;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
    use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};

    use super::*;

    /// Adds no reason to try again.
    #[derive(Debug)]
    struct NoMore;

    impl ClassifyRetry for NoMore {
        fn classify_retry(&self, _: &InterceptorContext) -> RetryAction {
            RetryAction::NoActionIndicated
        }

        fn name(&self) -> &'static str {
            "NoMore"
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_sts_that_never_answers_is_left() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let role = Role {
            arn: "arn:aws:iam::123456789012:role/ml-cache".to_owned(),
            region: "eu-central-1".to_owned(),
            session: "test".to_owned(),
            request: None,
            sts_endpoint: Some(format!("http://{}", silent.local_addr().unwrap())),
        };
        let client = aws_smithy_http_client::Builder::new().build_http();
        let retries = SharedRetryClassifier::new(NoMore);
        let provider = provider(role, client, retries, |_| ()).unwrap();
        let started = tokio::time::Instant::now();
        let error = provider.redeem("token".to_owned()).await.err().unwrap();
        assert!(error.explanation().contains("STS cannot be reached"), "{}", error.explanation());
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    }

    #[test]
    fn credentials_are_renewed_before_they_end() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for (life, renew, last_use) in
            [(3600, 3300, 3570), (900, 600, 870), (60, 40, 54), (0, 0, 0)]
        {
            let seconds = |count| now + Duration::from_secs(count);
            let held = Held::new(Credentials::for_tests(), seconds(life), now);
            assert_eq!((held.renew, held.last_use), (seconds(renew), seconds(last_use)), "{life}");
        }
    }

    #[test]
    fn a_clock_that_is_behind_does_not_make_credentials_live_longer() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let minutes = |count: u64| Duration::from_secs(count * 60);
        assert_eq!(expiry(now + minutes(15), now), now + minutes(15));
        assert_eq!(expiry(now + minutes(60) + minutes(10), now), now + minutes(60));
    }
}
