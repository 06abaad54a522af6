//! The comments of a pull request. For the API, a pull request is an issue as well.

use serde_json::json;

use super::answers::{Account, Comment};
use super::request::{Advice, Call, Fault, MAX_ANSWER, RETRY, Rest};
use crate::error::{Error, Result};
use crate::retry::Failure;

/// The hints for questions about comments.
const COMMENTS: Advice = Advice {
    refused: "add `pull-requests: write` to the `permissions` of the job, or give `github-token` a \
              token with this right",
    missing: "give `github-token` a token that can see the pull request",
};

impl Rest {
    /// Returns the name of the token's person; `None` if the token acts for an app, as a job's own
    /// token does.
    ///
    /// # Errors
    /// The API fails or limits the requests.
    pub async fn login(&self) -> Result<Option<String>> {
        match self.request::<Account>("/user", &[]).await {
            Ok(account) => Ok(Some(account.login)),
            Err(Fault::Refused(_) | Fault::Missing(_)) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Returns the comments of a pull request, the oldest first. The list ends after
    /// [`MAX_ITEMS`](super::MAX_ITEMS).
    ///
    /// # Errors
    /// - The token cannot see the pull request.
    /// - The API fails.
    pub async fn comments_of(&self, repository: &str, number: u64) -> Result<Vec<Comment>> {
        let route = format!("/repos/{repository}/issues/{number}/comments");
        let mut found = self.advised(&COMMENTS).pages(&route, &[], |answer| answer).await?;
        found.sort_by_key(|comment: &Comment| comment.id);
        Ok(found)
    }

    /// Creates a comment of a pull request, with a single request.
    ///
    /// After a failure that may pass, the comment may exist, because the answer may be lost. So the
    /// caller must look for the comment before another attempt.
    ///
    /// # Errors
    /// - The token may not comment on the pull request.
    /// - The API fails.
    pub async fn create_comment(
        &self,
        repository: &str,
        number: u64,
        body: &str,
    ) -> std::result::Result<(), Failure<Error>> {
        let route = format!("/repos/{repository}/issues/{number}/comments");
        let (what, document) = (format!("create a comment in {route}"), json!({"body": body}));
        let call = Call::Post(&route, &document);
        let answer = self.advised(&COMMENTS).answer(&what, call, MAX_ANSWER).await;
        let answer =
            answer.map_err(|Failure { why, outlook }| Failure { why: why.into(), outlook });
        answer?.checked(&what).map_err(Error::from)?;
        Ok(())
    }

    /// Replaces the text of a comment.
    ///
    /// # Errors
    /// - The token may not change the comment, or the comment is gone.
    /// - The API fails.
    pub async fn update_comment(&self, repository: &str, id: u64, body: &str) -> Result<()> {
        let route = format!("/repos/{repository}/issues/comments/{id}");
        let (what, document) = (format!("update {route}"), json!({"body": body}));
        let (rest, call) = (self.advised(&COMMENTS), Call::Patch(&route, &document));
        // A second request with the same text changes nothing.
        let answer = RETRY.run(|| rest.answer(&what, call, MAX_ANSWER)).await?;
        answer.checked(&what)?;
        Ok(())
    }
}
