//! Translates the SDK's errors for callers and for people.

use std::error::Error as StdError;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use reqwest::Url;

use super::super::{Key, StoreError, StoreErrorKind as Kind};
use super::body::Unreadable;
use super::retry::{passes, passes_by_code};
use super::web_page::WebPage;
use crate::error::Error;
use crate::sanitize;

/// Turns an SDK error into a store error with a reason and, if a remedy is known, a hint.
pub(super) fn translate<E>(
    action: &'static str,
    key: &Key,
    bucket: &str,
    error: SdkError<E, HttpResponse>,
) -> StoreError
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    match &error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let code = sanitize::message(service.err().code().unwrap_or_default());
            let said = sanitize::message(service.err().message().unwrap_or_default());
            let header = |name| service.raw().headers().get(name).map(sanitize::message);
            let found = answered(action, key, bucket, status, &code, &said);
            match status {
                200..=299 if code.is_empty() => unread(action, key, &error),
                // A region is news only where the service refuses the region of the request.
                301 | 307 | 400 => match header("x-amz-bucket-region") {
                    Some(region) if code.is_empty() || found.hint.as_deref() == Some(REGION) => {
                        StoreError { kind: Kind::Other, ..found }
                            .hint(format!("set the input `region` to `{region}`"))
                    }
                    _ => moved(found, status, header("location")),
                },
                _ => moved(found, status, header("location")),
            }
        }
        SdkError::TimeoutError(_) => {
            StoreError::new(Kind::Unreachable, action, key, "the store did not answer in time")
                .hint(REACH)
        }
        _ => unanswered(action, key, &error),
    }
}

const REACH: &str = "check `endpoint-url` and `region`, and that this machine can reach the store";

const REGION: &str = "set the input `region` to the region of the bucket";

const INTERFACE: &str =
    "set `endpoint-url` to the service's S3 interface, or let the firewall pass requests there";

const TOO_LARGE: &str =
    "allow requests of 64 MiB, such as with `client_max_body_size` of nginx before the store";

const FULL: &str = "free space in the store, or raise its quota";

const NOT_IMPLEMENTED: &str =
    "use a service or a version with conditional writes and SHA-256 checksums, see docs/stores.md";

// Over 70 lines: it is the whole table of S3's answers, to be read from top to bottom.
fn answered(
    action: &'static str,
    key: &Key,
    bucket: &str,
    status: u16,
    code: &str,
    said: &str,
) -> StoreError {
    let make = |kind, reason: String| StoreError::new(kind, action, key, reason);
    let in_words = || match (code, said) {
        ("", "") => format!("the store answered {status}"),
        ("", said) => format!("the store answered {status}: {said}"),
        (code, "") => format!("the store answered {status} {code}"),
        (code, said) => format!("the store answered {status} {code}: {said}"),
    };
    match (status, code) {
        (_, "NoSuchBucket") => make(Kind::NoStore, format!("the bucket `{bucket}` does not exist"))
            .hint("check the bucket's name in `store`, and `region` or `endpoint-url`"),
        // `If-Match` on a missing key. A read of a missing key has the same code.
        (404, "NoSuchKey") if action == "write" => {
            make(Kind::Changed, "the object is gone".to_owned())
        }
        // An answer to HEAD has no body, so it has no code. An answer with the code belongs to a
        // read.
        (404, "NoSuchKey") => make(Kind::NotFound, "there is no such object".to_owned()),
        (404, _) if action == "look up" => {
            make(Kind::NotFound, "there is no such object".to_owned())
        }
        // Any web server answers 404, but only S3 gives a code.
        (404, _) => {
            make(Kind::Other, format!("{}, which is not the answer of an S3 server", in_words()))
                .hint(REACH)
        }
        // Some services answer 304 to a write with `If-None-Match`.
        (412, _) => make(Kind::Exists, "another run wrote it meanwhile".to_owned()),
        (304, _) if action == "write" => {
            make(Kind::Exists, "another run wrote it meanwhile".to_owned())
        }
        (409, _) => make(Kind::Conflict, in_words()),
        (
            400,
            "BadDigest"
            | "InvalidDigest"
            | "XAmzContentSHA256Mismatch"
            | "XAmzContentChecksumMismatch"
            | "ChecksumMismatch",
        ) => make(Kind::Damaged, in_words()),
        (400 | 403, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired") => {
            make(Kind::Unauthenticated, in_words()).hint(
                "set `role-to-assume`, which fetches fresh credentials and renews them during a \
                 transfer, or run aws-actions/configure-aws-credentials after the training, right \
                 before this step",
            )
        }
        (_, "SignatureDoesNotMatch") => make(Kind::Unauthenticated, in_words()).hint(
            "check AWS_SECRET_ACCESS_KEY, and that no proxy before the store changes requests, \
             such as their header `Host`; the store does not accept these credentials",
        ),
        (_, "UserSuspended" | "AccountProblem" | "NotSignedUp" | "AllAccessDisabled") => {
            make(Kind::Denied, in_words())
                .hint("settle the account with the service, which has disabled it")
        }
        (403, "InvalidAccessKeyId" | "InvalidToken" | "InvalidClientTokenId")
        | (400, "InvalidToken")
        | (401, _) => make(Kind::Unauthenticated, in_words()).hint(
            "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the role; \
             the store does not accept these credentials",
        ),
        // The SDK corrects a wrong clock of this machine. So the clock of a server may be wrong.
        (_, "RequestTimeTooSkewed") => {
            make(Kind::Unreachable, in_words()).hint("set the clock of this machine")
        }
        _ if code.starts_with("KMS.")
            || ["kms:", "KMS key", "ciphertext"].iter().any(|word| said.contains(word)) =>
        {
            // A write says nothing about the object under the key.
            let kind = if action == "read" { Kind::Unusable } else { Kind::Denied };
            make(kind, in_words()).hint(format!(
                "grant the credentials kms:GenerateDataKey and kms:Decrypt on the key of the \
                 bucket `{bucket}`, in the key's policy as well, and check that the key is enabled"
            ))
        }
        (_, "InvalidObjectState") => make(Kind::Unusable, in_words()).hint(
            "the object is in an archive: restore it from there, or train again with \
             `force-retrain: true`; exclude the store's prefix from the lifecycle rule",
        ),
        (507, _) | (_, "QuotaExceeded" | "StorageFull" | "InsufficientCapacity") => {
            make(Kind::Other, in_words()).hint(FULL)
        }
        _ if code.ends_with("QuotaExceeded") || said.contains("cap exceeded") => {
            make(Kind::Other, in_words()).hint(FULL)
        }
        (413, _) | (_, "EntityTooLarge") => make(Kind::Other, in_words()).hint(TOO_LARGE),
        (405, _) => make(Kind::Other, in_words()).hint(INTERFACE),
        (407, _) => make(Kind::Other, in_words())
            .hint("put the user and the password of the proxy into its variable"),
        _ if passes(status) || passes_by_code(code) => make(Kind::Unreachable, in_words()),
        (_, "IllegalLocationConstraintException" | "AuthorizationHeaderMalformed") => {
            make(Kind::Other, in_words()).hint(REGION)
        }
        (501, _) | (_, "NotImplemented") => make(Kind::Other, in_words()).hint(NOT_IMPLEMENTED),
        (400, _) if lacks_a_feature(said) => make(Kind::Other, in_words()).hint(NOT_IMPLEMENTED),
        (505, _) => make(Kind::Other, in_words()).hint(REACH),
        // An answer to HEAD has no body. S3 answers 400 without a key that the object asks for.
        (400, "") if action == "look up" => {
            make(Kind::Unusable, in_words()).hint(with_foreign_key(key))
        }
        (400, code) if action == "read" && (said.contains("ncrypt") || code.contains("SSE")) => {
            make(Kind::Unusable, in_words()).hint(with_foreign_key(key))
        }
        (403, _) if action == "write" => make(Kind::Denied, in_words()).hint(format!(
            "grant the credentials s3:PutObject on the bucket `{bucket}`, and check the access \
             key; if the bucket's policy demands encryption headers, set `sse` and, for a key of \
             KMS, `sse-kms-key-id`"
        )),
        (403, _) => {
            // Without `s3:ListBucket`, S3 answers 403 for a missing object.
            make(Kind::Denied, in_words()).hint(format!(
                "grant the credentials s3:GetObject on the objects and s3:ListBucket on the bucket \
                 `{bucket}`, and check the access key"
            ))
        }
        (301 | 307, _) | (400, "PermanentRedirect" | "TemporaryRedirect") => {
            make(Kind::Other, in_words()).hint(REGION)
        }
        (500..=599, _) => make(Kind::Unreachable, in_words()),
        _ => make(Kind::Other, in_words()),
    }
}

/// Adds the address to which the service sends the client. No request follows it, because the
/// request's signature is for the store alone.
fn moved(error: StoreError, status: u16, location: Option<String>) -> StoreError {
    let address = location.and_then(|location| Url::parse(&location).ok()).filter(Url::has_host);
    let (300..=399, Some(address)) = (status, address) else { return error };
    let address = address.origin().ascii_serialization();
    let reason = format!("{}, and points to {address}", error.reason);
    StoreError { reason, ..error }.hint(format!(
        "set `endpoint-url` to `{address}` if this is the address of the store, or the input \
         `region` to the region of the bucket"
    ))
}

/// Returns the error of an answer that reports a success in another way than S3.
fn unread<E: StdError + 'static>(action: &'static str, key: &Key, error: &E) -> StoreError {
    let reason = format!("the answer of the store cannot be read: {}", root_cause(error));
    StoreError::new(Kind::Other, action, key, reason)
        .hint("check that no proxy before the store changes its answers")
}

/// Returns whether the service says that it does not know a part of the request.
fn lacks_a_feature(said: &str) -> bool {
    let said = said.to_lowercase();
    said.contains("supported") || said.contains("implemented")
}

fn with_foreign_key(key: &Key) -> String {
    format!(
        "remove `{key}` if it was written with a customer-provided key (SSE-C); no other client \
         can read such an object"
    )
}

fn unanswered<E: StdError + 'static>(action: &'static str, key: &Key, error: &E) -> StoreError {
    let all = causes(error)
        .iter()
        .map(|cause| cause.to_string().to_lowercase())
        .collect::<Vec<_>>()
        .join(": ");
    if let Some(page) = cause::<WebPage>(error) {
        return StoreError::new(Kind::Other, action, key, page.to_string()).hint(INTERFACE);
    }
    if let Some(own) = cause::<Unreadable>(error) {
        return StoreError::new(Kind::Other, action, key, own.to_string());
    }
    if let Some(own) = cause::<Error>(error) {
        let refused = StoreError::new(Kind::Unauthenticated, action, key, own.explanation());
        return if own.hints().is_empty() { refused } else { refused.hint(own.hints().join("; ")) };
    }
    if all.contains("custom endpoint") {
        // The SDK's own reason quotes the URL, which may wrongly hold credentials.
        return StoreError::new(Kind::Other, action, key, "the endpoint is not a base URL").hint(
            "check `endpoint-url`, AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_S3, and `endpoint_url` in \
             the AWS configuration",
        );
    }
    // The instance metadata service may refuse. Then there simply are no credentials.
    if all.contains("an error occurred while loading credentials") && !all.contains("imds") {
        let reason = format!("the AWS credentials could not be loaded: {}", root_cause(error));
        return StoreError::new(Kind::Unauthenticated, action, key, reason).hint(
            "check the AWS variables of this step, and put the files that they name inside the \
             container, such as into the workspace; or set `role-to-assume`",
        );
    }
    if all.contains("credential") {
        return StoreError::new(
            Kind::Unauthenticated,
            action,
            key,
            "no AWS credentials were found",
        )
        .hint(
            "set `role-to-assume`, use aws-actions/configure-aws-credentials before this step, or \
             set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; inside a container the instance \
             metadata service answers only with a hop limit of 2 or more",
        );
    }
    let reason = format!("the store cannot be reached: {}", root_cause(error));
    if all.contains("certificate") {
        return StoreError::new(Kind::Other, action, key, reason).hint(certificate(&all));
    }
    StoreError::new(Kind::Unreachable, action, key, reason).hint(REACH)
}

/// Returns the remedy for a certificate that the client refuses. The words are those of rustls.
fn certificate(words: &str) -> &'static str {
    if words.contains("expired") || words.contains("not valid yet") || words.contains("notvalidyet")
    {
        "renew the certificate of the store, and check the clock of this machine"
    } else if words.contains("not valid for name") || words.contains("notvalidforname") {
        "set `endpoint-url` to a name that the certificate has; `force-path-style: true` keeps the \
         bucket out of the name"
    } else {
        "name a file with the certificate of the store's authority in AWS_CA_BUNDLE"
    }
}

/// Returns the first cause of this type. An [`Error`] among the causes comes from
/// [`crate::github::oidc`], if a role's credentials failed.
fn cause<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    causes(error).into_iter().find_map(|cause| cause.downcast_ref())
}

/// Returns the innermost cause, which has the actual reason. A server may have worded that reason,
/// so this removes secrets and control characters.
pub(super) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    causes(error).pop().map(|cause| sanitize::message(&cause.to_string())).unwrap_or_default()
}

/// Returns the error and its causes, innermost last.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> Vec<&'a (dyn StdError + 'static)> {
    let mut causes = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        causes.push(error);
        next = error.source();
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::super::super::layout;
    use super::*;
    use crate::format::BlobId;

    #[test]
    fn answers_are_told_apart() {
        let key = layout::blob(&BlobId::of(b""));
        for (action, status, code, kind) in [
            ("read", 404, "NoSuchKey", Kind::NotFound),
            ("look up", 404, "", Kind::NotFound),
            ("read", 404, "", Kind::Other),
            ("write", 404, "", Kind::Other),
            ("write", 404, "NoSuchKey", Kind::Changed),
            ("read", 404, "NoSuchBucket", Kind::NoStore),
            ("write", 412, "PreconditionFailed", Kind::Exists),
            ("write", 409, "ConditionalRequestConflict", Kind::Conflict),
            ("write", 400, "BadDigest", Kind::Damaged),
            ("read", 403, "AccessDenied", Kind::Denied),
            ("read", 403, "", Kind::Denied),
            ("read", 403, "SignatureDoesNotMatch", Kind::Unauthenticated),
            ("read", 503, "SlowDown", Kind::Unreachable),
            ("read", 418, "Teapot", Kind::Other),
            ("write", 429, "", Kind::Unreachable),
            ("write", 501, "NotImplemented", Kind::Other),
            ("write", 505, "", Kind::Other),
            ("write", 507, "", Kind::Other),
            ("write", 403, "KMS.DisabledException", Kind::Denied),
            ("read", 403, "InvalidObjectState", Kind::Unusable),
            ("look up", 400, "", Kind::Unusable),
            ("read", 400, "SSECustomerKeyMissing", Kind::Unusable),
            ("read", 400, "KMS.DisabledException", Kind::Unusable),
            ("read", 400, "InvalidRequest", Kind::Other),
            ("read", 403, "RequestTimeTooSkewed", Kind::Unreachable),
            ("look up", 408, "", Kind::Unreachable),
            ("write", 400, "RequestTimeout", Kind::Unreachable),
            ("write", 400, "ThrottlingException", Kind::Unreachable),
            ("write", 200, "InternalError", Kind::Unreachable),
            ("write", 520, "", Kind::Unreachable),
            ("write", 304, "", Kind::Exists),
            ("read", 304, "", Kind::Other),
            ("write", 413, "", Kind::Other),
            ("write", 405, "MethodNotAllowed", Kind::Other),
            ("read", 403, "UserSuspended", Kind::Denied),
        ] {
            assert_eq!(
                answered(action, &key, "bucket", status, code, "").kind,
                kind,
                "{status} {code}"
            );
        }
    }

    #[test]
    fn a_hint_goes_by_the_words_of_the_service() {
        let key = layout::blob(&BlobId::of(b""));
        let denied = "User is not authorized to perform: kms:GenerateDataKey on this resource";
        for (action, status, code, said, part) in [
            ("write", 403, "AccessDenied", denied, "kms:Decrypt"),
            ("read", 400, "KMS.DisabledException", "", "enabled"),
            ("write", 403, "AccessDenied", "explicit deny in a resource-based policy", "`sse`"),
            ("read", 403, "AccessDenied", "Access Denied", "s3:GetObject"),
            ("read", 403, "InvalidObjectState", "", "archive"),
            ("write", 403, "QuotaExceeded", "", "quota"),
            ("write", 400, "XMinioAdminBucketQuotaExceeded", "", "quota"),
            ("write", 507, "", "", "quota"),
            ("write", 501, "NotImplemented", "", "conditional writes"),
            ("write", 400, "IllegalLocationConstraintException", "", "`region`"),
            ("read", 400, "AuthorizationHeaderMalformed", "", "`region`"),
            ("read", 301, "PermanentRedirect", "", "`region`"),
            ("read", 403, "RequestTimeTooSkewed", "", "clock"),
            ("write", 413, "", "", "client_max_body_size"),
            ("write", 400, "EntityTooLarge", "", "64 MiB"),
            ("look up", 405, "", "", "`endpoint-url`"),
            ("read", 407, "", "", "password of the proxy"),
            ("read", 403, "UserSuspended", "", "account"),
            ("read", 403, "AccountProblem", "", "account"),
            ("write", 403, "AccessDenied", "Cannot upload files, storage cap exceeded.", "quota"),
            ("read", 403, "SignatureDoesNotMatch", "", "`Host`"),
            ("write", 400, "InvalidArgument", "Unsupported header 'x-amz-a'", "SHA-256"),
            ("write", 400, "InvalidRequest", "If-None-Match is not supported", "conditional"),
            ("read", 403, "AccessDenied", "The ciphertext refers to a key", "kms:Decrypt"),
            ("look up", 400, "", "", "customer-provided key"),
            (
                "read",
                400,
                "InvalidRequest",
                "The object was stored using a form of Server Side Encryption.",
                "customer-provided key",
            ),
        ] {
            let hint = answered(action, &key, "bucket", status, code, said).hint.unwrap();
            assert!(hint.contains(part), "{status} {code}: {hint}");
        }
    }

    #[test]
    fn an_answer_that_sends_the_client_away_names_the_address() {
        let key = layout::blob(&BlobId::of(b""));
        let at = |status, location: &str| {
            let found = answered("read", &key, "bucket", status, "", "");
            moved(found, status, Some(location.to_owned()))
        };
        for (status, location, address) in [
            (301, "https://minio.corp:9000/models/x?a=b", Some("`https://minio.corp:9000`")),
            (308, "https://user:secret@minio.corp/", Some("`https://minio.corp`")),
            (302, "/login", None),
            (307, "", None),
            (200, "https://minio.corp", None),
        ] {
            let error = at(status, location);
            let hint = error.hint.unwrap_or_default();
            match address {
                Some(address) => assert!(hint.contains(address), "{hint}"),
                None => assert!(!error.reason.contains("points to"), "{}", error.reason),
            }
            assert!(!hint.contains("secret"), "{hint}");
        }
    }

    #[test]
    fn a_refused_certificate_has_its_own_remedy() {
        for (words, remedy) in [
            ("invalid peer certificate: expired: verification time 1", "renew"),
            ("invalid peer certificate: certificate not valid yet", "clock"),
            ("invalid peer certificate: certificate not valid for name \"a.b\"", "`endpoint-url`"),
            ("invalid peer certificate: unknownissuer", "AWS_CA_BUNDLE"),
        ] {
            assert!(certificate(words).contains(remedy), "{words}");
        }
    }

    #[test]
    fn the_innermost_cause_is_shown() {
        let inner = std::io::Error::other("connection refused");
        let outer = StoreError::new(Kind::Other, "read", &layout::blob(&BlobId::of(b"")), "outer");
        assert_eq!(root_cause(&outer), outer.to_string());
        let error = crate::error::Error::failed("middle").caused_by(inner);
        assert_eq!(root_cause(&error), "connection refused");
    }
}
