//! The HTTP client of the SDK, with the proxies and certificates of the environment.

use std::fmt;
use std::path::PathBuf;

use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::error::{Error, Result};
use crate::regular_file;

/// The largest bundle of certificates, in bytes.
const MAX_BUNDLE: usize = 16 << 20;
/// The services of the machine that give credentials. No proxy reaches them.
const LINK_LOCAL: &str = "169.254.0.0/16,fd00:ec2::/32";

/// The way to the network, as the environment gives it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// HTTPS_PROXY, or ALL_PROXY.
    pub https_proxy: Option<String>,
    /// HTTP_PROXY, or ALL_PROXY.
    pub http_proxy: Option<String>,
    /// NO_PROXY.
    pub no_proxy: Option<String>,
    /// AWS_CA_BUNDLE: the only certificates to trust.
    pub ca_bundle: Option<PathBuf>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL of a proxy may hold credentials.
        f.debug_struct("Network").field("ca_bundle", &self.ca_bundle).finish_non_exhaustive()
    }
}

impl Network {
    /// Reads the variables through `get`. For each variable, the upper-case name comes first.
    pub fn of<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Self {
        let read = |name: &str| get(name).or_else(|| get(&name.to_ascii_lowercase()));
        let proxy = |name: &str| read(name).or_else(|| read("ALL_PROXY")).map(str::to_owned);
        Self {
            https_proxy: proxy("HTTPS_PROXY"),
            http_proxy: proxy("HTTP_PROXY"),
            no_proxy: read("NO_PROXY").map(str::to_owned),
            ca_bundle: get("AWS_CA_BUNDLE").map(PathBuf::from),
        }
    }

    /// Returns the address of the proxy for requests to `endpoint`, without credentials; `None` if
    /// the requests go straight.
    pub fn proxy_for(&self, endpoint: &str) -> Option<String> {
        let matcher = Matcher::builder()
            .https(self.https_proxy.clone().unwrap_or_default())
            .http(self.http_proxy.clone().unwrap_or_default())
            .no(self.rules(endpoint)?)
            .build();
        let proxy = matcher.intercept(&endpoint.parse().ok()?)?;
        let (scheme, authority) = (proxy.uri().scheme_str()?, proxy.uri().authority()?.as_str());
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        Some(format!("{scheme}://{host}"))
    }

    /// Returns the rules of NO_PROXY for requests to `endpoint`; `None` if no request uses a proxy.
    ///
    /// An entry with the port of the endpoint counts like its host. The library knows only hosts.
    fn rules(&self, endpoint: &str) -> Option<String> {
        let port = Url::parse(endpoint).ok().and_then(|url| url.port_or_known_default());
        let mut rules = vec![LINK_LOCAL.to_owned()];
        let given = self.no_proxy.as_deref().unwrap_or_default();
        for rule in given.split([',', ' ']).filter(|rule| !rule.is_empty()) {
            if rule == "*" {
                return None;
            }
            let parts = rule.rsplit_once(':').filter(|(host, _)| !host.contains(':'));
            match parts.map(|(host, number)| (host, number.parse::<u16>())) {
                Some((host, Ok(number))) if Some(number) == port => rules.push(host.to_owned()),
                Some((_, Ok(_))) => {}
                _ => rules.push(rule.trim_matches(['[', ']']).to_owned()),
            }
        }
        Some(rules.join(","))
    }

    fn proxies(&self, endpoint: &str) -> ProxyConfig {
        let is_plain = endpoint.starts_with("http://");
        let (Some(rules), Some(proxy)) =
            (self.rules(endpoint), if is_plain { &self.http_proxy } else { &self.https_proxy })
        else {
            return ProxyConfig::disabled();
        };
        let config = match is_plain {
            true => ProxyConfig::all(proxy.as_str()),
            false => ProxyConfig::https(proxy.as_str()),
        };
        config.map_or_else(|_| ProxyConfig::disabled(), |config| config.no_proxy(rules))
    }

    /// Returns an HTTP client for `endpoint`, with ring as its TLS provider.
    ///
    /// # Errors
    /// The bundle of certificates cannot be used.
    pub fn client(&self, endpoint: &str) -> Result<SharedHttpClient> {
        let trust = match &self.ca_bundle {
            None => TrustStore::default(),
            Some(path) => TrustStore::empty().with_pem_certificate(bundle(path)?),
        };
        let context = TlsContext::builder().with_trust_store(trust).build().map_err(|error| {
            Error::failed("cannot start an HTTP client for the store").caused_by(error)
        })?;
        let proxies = self.proxies(endpoint);
        Ok(Builder::new().build_with_connector_fn(move |settings, components| {
            let mut builder = Connector::builder()
                .proxy_config(proxies.clone())
                .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
                .tls_context(context.clone());
            builder.set_connector_settings(settings.cloned());
            if let Some(components) = components {
                builder.set_sleep_impl(components.sleep_impl());
            }
            builder.build()
        }))
    }
}

/// Reads the certificates, and checks each of them: the library would panic.
fn bundle(path: &std::path::Path) -> Result<Vec<u8>> {
    let unusable = |why: String| {
        Error::bad_input(format!(
            "the certificates in `{}` (AWS_CA_BUNDLE or `ca_bundle`) cannot be used: {why}",
            path.display()
        ))
        .hint("give a file of PEM certificates that this step can read, inside the container")
    };
    let pem = regular_file::read("AWS_CA_BUNDLE", path, MAX_BUNDLE)
        .map_err(|error| unusable(error.explanation()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(unusable("the file has no certificate".to_owned())),
        false => Ok(pem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(https: &str, no: &str) -> Network {
        Network::of(|name| {
            let value = match name {
                "HTTPS_PROXY" => https,
                "http_proxy" => "http://plain:3128",
                "no_proxy" => no,
                _ => "",
            };
            Some(value)
                .filter(|value| !value.is_empty())
                .map(|value| value.to_owned().leak() as &str)
        })
    }

    #[test]
    fn a_proxy_counts_unless_no_proxy_names_the_endpoint() {
        let proxy = "http://user:secret@proxy:3128";
        for (endpoint, no, goes_through) in [
            ("https://s3.eu-central-1.amazonaws.com", "", Some("http://proxy:3128")),
            ("https://s3.eu-central-1.amazonaws.com", "*", None),
            ("https://10.0.0.7:9000", "*", None),
            ("https://10.0.0.7:9000", "other, *", None),
            ("https://10.0.0.7:9000", "10.0.0.0/8", None),
            ("https://10.0.0.7:9000", "10.0.0.7:9000", None),
            ("https://10.0.0.7:9000", "10.0.0.7:9001", Some("http://proxy:3128")),
            ("https://minio.corp:9000", "minio.corp:9000", None),
            ("https://minio.corp:9000", "other minio.corp:9000", None),
            ("https://minio.corp:9000", ".corp", None),
            ("https://s3.amazonaws.com", ".amazonaws.com:443", None),
            ("https://s3.amazonaws.com", ".amazonaws.com:80", Some("http://proxy:3128")),
            ("https://[fd00::7]:9000", "[fd00::7]", None),
            ("http://minio.corp:9000", "", Some("http://plain:3128")),
            ("http://localhost:9000", "", Some("http://plain:3128")),
            ("http://169.254.170.2", "", None),
        ] {
            let found = network(proxy, no).proxy_for(endpoint);
            assert_eq!(found.as_deref(), goes_through, "{endpoint} {no}");
        }
        assert_eq!(Network::default().proxy_for("https://s3.amazonaws.com"), None);
    }

    #[test]
    fn a_bundle_without_certificates_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("bundle.pem");
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in ["", "no certificate", broken] {
            std::fs::write(&path, text).unwrap();
            let network = Network { ca_bundle: Some(path.clone()), ..Network::default() };
            let error = network.client("https://s3.amazonaws.com").unwrap_err();
            assert!(error.to_string().contains("AWS_CA_BUNDLE"), "{error}");
        }
    }
}
