//! The comment of a pull request: the table of the job summary, for the people who review the
//! change. A pull request has one comment for each model, and each run updates it.
//!
//! A failure is only a warning, because the work is done.

use std::time::Duration;

use super::Context;
use crate::error::{Error, Result};
use crate::format::metrics::Metric;
use crate::format::{ModelName, Namespace};
use crate::github::rest::{Comment, MAX_ITEMS, Rest};
use crate::outcome::{Ending, Outcome};
use crate::report::summary;
use crate::retry::{Failure, Policy};
use crate::store::layout;

/// GitHub's limit for a comment, in characters.
const MAX_COMMENT: usize = 65_536;
/// For a comment whose creation is in doubt. GitHub's list may show a new comment a little late.
const RETRY: Policy = Policy {
    attempts: 3,
    pause: Duration::from_secs(2),
    growth: 2.0,
    patience: Duration::from_secs(60),
    ..Policy::ONCE
};

/// Shows a model in the pull request of the run. An outcome without a model gets no comment.
pub async fn show(ctx: &Context, outcome: &Outcome) {
    if outcome.pointer.is_none() && outcome.ending != Ending::NotSaved {
        return;
    }
    // A run of a fork saves nothing, and still says why there is no comment.
    let Some(place) = Place::find(ctx) else { return };
    if outcome.pointer.is_none() {
        return;
    }
    let beside = beside(ctx, outcome).await;
    let outcome = Outcome { beside, ..outcome.clone() };
    let texts = [
        summary::render(&outcome),
        summary::render(&Outcome { changes: Vec::new(), ..outcome.clone() }),
        summary::heading(outcome.model.as_str(), outcome.ending.headline()),
    ];
    place.put(ctx, &texts).await;
}

/// Shows in the pull request of the run why a save failed.
pub async fn show_failure(ctx: &Context, error: &Error) {
    let Some(place) = Place::find(ctx) else { return };
    let model = ctx.settings.model.as_str();
    place
        .put(ctx, &[summary::failure(Some(model), error, None), summary::heading(model, "failed")])
        .await;
}

/// Shows the result of a save in the pull request of the run.
pub async fn show_save(ctx: &Context, saved: &Result<Outcome>) {
    match saved {
        Ok(outcome) => show(ctx, outcome).await,
        Err(error) => show_failure(ctx, error).await,
    }
}

/// Returns the metrics of the latest trusted model, for a model that has metrics. A save knows them
/// already.
async fn beside(ctx: &Context, outcome: &Outcome) -> Option<Vec<Metric>> {
    let pointer = outcome.pointer.as_ref().filter(|pointer| !pointer.metrics.is_empty())?;
    if outcome.beside.is_some() {
        return outcome.beside.clone();
    }
    match ctx.latest_trusted().await {
        // No model stands beside itself.
        Ok(trusted) => trusted.filter(|it| it.nonce != pointer.nonce).map(|it| it.metrics),
        Err(error) => {
            ctx.report.warn_of("the comment shows no metrics of the trusted model", &error);
            None
        }
    }
}

/// A pull request that this run may comment on.
struct Place<'a> {
    rest: &'a Rest,
    repository: &'a str,
    number: u64,
}

impl<'a> Place<'a> {
    /// Returns the pull request of the run; `None` if there is none, if the user wants no comment,
    /// or if its branch is in a fork.
    fn find(ctx: &'a Context) -> Option<Self> {
        let run = ctx.run.as_ref()?;
        let request = run.pull_request.as_ref()?;
        if !ctx.settings.comment {
            return None;
        }
        if !request.same_repository {
            let why = "a pull request from a fork gets no comment, because its runs only read";
            ctx.report.info(&format!("{}: {why}", ctx.settings.model));
            return None;
        }
        // The settings have warned of a missing token.
        let rest = ctx.rest.as_ref()?;
        Some(Self { rest, repository: &run.repository, number: request.number })
    }

    /// Creates or updates the comment, with the first of the texts that fits.
    async fn put(&self, ctx: &Context, texts: &[String]) {
        let marker = marker(&ctx.settings.namespace, &ctx.settings.model);
        let body = body(&marker, texts);
        let (model, number) = (&ctx.settings.model, self.number);
        match RETRY.run(|| self.attempt(&marker, &body)).await {
            Ok(true) => {
                let told = format!("{model}: pull request #{number} shows this in a comment");
                ctx.report.info(&told);
            }
            Ok(false) => {}
            Err(error) => {
                let lack = format!("pull request #{number} has no comment about this run");
                ctx.report.warn_of(&lack, &error);
            }
        }
    }

    /// Looks for the comment, then creates or updates it. Returns whether the text is new.
    async fn attempt(&self, marker: &str, body: &str) -> std::result::Result<bool, Failure<Error>> {
        let Self { rest, repository, number } = *self;
        let mut found = rest.comments_of(repository, number).await?;
        let is_complete = found.len() < MAX_ITEMS;
        found.retain(|comment| comment.body.starts_with(marker));
        let login = if found.is_empty() { None } else { rest.login().await? };
        match found.iter().find(|comment| is_own(comment, login.as_deref())) {
            Some(own) if lines(&own.body) == lines(body) => return Ok(false),
            Some(own) => rest.update_comment(repository, own.id, body).await?,
            None if is_complete => rest.create_comment(repository, number, body).await?,
            None => {
                let many = format!("it has {MAX_ITEMS} comments or more, and none of this action");
                return Err(Error::failed(many).into());
            }
        }
        Ok(true)
    }
}

/// Returns whether this token's account wrote the comment. Anybody can write a comment that begins
/// with the marker.
///
/// `login` is the person of the token. Without a person, an app wrote the comment.
fn is_own(comment: &Comment, login: Option<&str>) -> bool {
    let Some(author) = &comment.user else { return false };
    match login {
        Some(login) => author.login.eq_ignore_ascii_case(login),
        None => author.kind == "Bot",
    }
}

/// Returns the lines of a text, without the white space that GitHub may change.
fn lines(text: &str) -> Vec<&str> {
    text.trim_end().lines().collect()
}

/// Returns the first line of the comment, which no reader sees. It names the model.
///
/// Nothing in a name ends the line or the HTML comment.
fn marker(namespace: &Namespace, model: &ModelName) -> String {
    let names = [namespace.owner(), namespace.name(), model.as_str()].map(layout::encode);
    format!("<!-- ml-cache: {} -->", names.join("/"))
}

/// Returns the text of the comment: the marker, and the first of the texts that fits.
fn body(marker: &str, texts: &[String]) -> String {
    let mut bodies = texts.iter().map(|text| format!("{marker}\n{text}"));
    let fits = |body: &String| body.chars().count() <= MAX_COMMENT;
    bodies.find(fits).unwrap_or_else(|| format!("{marker}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::rest::Account;

    #[test]
    fn a_marker_is_one_html_comment_whatever_the_names_are() {
        for (namespace, model, shown) in [
            ("org/repo", "fraud", "<!-- ml-cache: org/repo/fraud -->"),
            ("org/repo", "a--b", "<!-- ml-cache: org/repo/a--b -->"),
            ("org/repo", "x-->@team", "<!-- ml-cache: org/repo/x--%3E%40team -->"),
            ("org/repo", "x --!>", "<!-- ml-cache: org/repo/x%20--%21%3E -->"),
            ("org/r%2F", "é", "<!-- ml-cache: org/r%252F/%C3%A9 -->"),
        ] {
            let marker = marker(&namespace.parse().unwrap(), &model.parse().unwrap());
            assert_eq!(marker, shown);
            assert_eq!((marker.matches("-->").count(), marker.matches("--!>").count()), (1, 0));
        }
    }

    #[test]
    fn only_a_comment_of_the_same_account_is_ours() {
        let author = |login: &str, kind: &str| Account { login: login.into(), kind: kind.into() };
        let own = |user: Option<Account>, login: Option<&str>| {
            is_own(&Comment { id: 1, body: String::new(), user }, login)
        };
        let bot = author("github-actions[bot]", "Bot");
        assert!(own(Some(bot.clone()), None));
        assert!(!own(Some(bot), Some("octocat")), "a person wrote none of a bot's comments");
        assert!(own(Some(author("Octocat", "User")), Some("octocat")));
        assert!(!own(Some(author("stranger", "User")), Some("octocat")));
        assert!(!own(Some(author("stranger", "User")), None));
        assert!(!own(None, None), "the account is gone");
    }

    #[test]
    fn the_first_text_that_fits_is_the_comment() {
        let fitting = "é".repeat(MAX_COMMENT - 3);
        let long = format!("{fitting}é");
        let texts = |texts: &[&String]| texts.iter().map(|&it| it.clone()).collect::<Vec<_>>();
        assert_eq!(body("<>", &texts(&[&fitting, &"b".to_owned()])), format!("<>\n{fitting}"));
        assert_eq!(body("<>", &texts(&[&long, &"b".to_owned()])), "<>\nb");
        assert_eq!(body("<>", &texts(&[&long])), "<>\n");
    }

    #[test]
    fn a_text_is_the_same_with_other_line_ends() {
        assert_eq!(lines("a\r\n\r\nb"), lines("a\n\nb\n\n"));
        assert_ne!(lines("a\nb"), lines("a\n\nb"));
    }
}
