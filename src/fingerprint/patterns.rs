//! Patterns with the semantics of the runner's `hashFiles`.
//!
//! `hashFiles` is npm's `@actions/glob`, which matches with minimatch under the options dot,
//! nobrace, nocomment, noext and nonegate. This module follows its rules on paths relative to the
//! workspace; docs/formats.md states them in full. Characters are UTF-16 units, as they are there.

use std::fmt;
use std::path::Path;

/// The patterns that are applied last unless the user turns them off.
pub const DEFAULT_EXCLUDES: &[&str] = &[
    "!**/.git/**",
    "!**/__pycache__/**",
    "!**/*.py[co]",
    "!**/.ipynb_checkpoints/**",
    "!**/.DS_Store",
    "!**/.pytest_cache/**",
    "!**/.mypy_cache/**",
    "!**/.ruff_cache/**",
];

/// An ordered list of patterns; the last one that matches a path decides.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Vec<Pattern>);

/// One line.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// The line as the user wrote it, for messages.
    pub text: String,
    /// Whether it excludes.
    pub negate: bool,
    /// Whether it matches directories only (and so everything below them).
    directories_only: bool,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// `**`: any number of components.
    Globstar,
    /// Exactly this component.
    Literal(String),
    /// A component with wildcards.
    Wild(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Unit(u16),
    Any,
    Star,
    /// Ranges, and whether the class matches what is *not* in them.
    Class {
        negate: bool,
        ranges: Vec<(u16, u16)>,
    },
}

/// Why a line is no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPattern {
    /// The line.
    pub text: String,
    /// The rule that it breaks.
    pub reason: &'static str,
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.text, self.reason)
    }
}

impl Patterns {
    /// Reads one pattern a line; blank lines and lines that start with `#` are skipped.
    ///
    /// # Errors
    /// Every line that is no pattern.
    pub fn parse(text: &str, workspace: &Path) -> Result<Self, Vec<BadPattern>> {
        let mut patterns = Vec::new();
        let mut faults = Vec::new();
        for line in text.split('\n').map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match Pattern::parse(line, workspace) {
                Ok(pattern) => patterns.push(pattern),
                Err(reason) => faults.push(BadPattern { text: line.to_owned(), reason }),
            }
        }
        if faults.is_empty() { Ok(Self(patterns)) } else { Err(faults) }
    }

    /// Adds the default excludes after the user's patterns.
    #[must_use]
    pub fn with_default_excludes(mut self) -> Self {
        if !self.0.is_empty() {
            let defaults = DEFAULT_EXCLUDES.iter().filter_map(|line| Pattern::parse(line, Path::new("/")).ok());
            self.0.extend(defaults);
        }
        self
    }

    /// Returns whether nothing is selected at all.
    pub fn has_includes(&self) -> bool {
        self.0.iter().any(|pattern| !pattern.negate)
    }

    /// Returns the patterns in order.
    pub fn iter(&self) -> impl Iterator<Item = &Pattern> {
        self.0.iter()
    }

    /// Returns the last include that matches the file, unless a later exclude matches too.
    pub fn selects(&self, path: &[&str]) -> Option<usize> {
        let mut selected = None;
        for (index, pattern) in self.0.iter().enumerate() {
            if pattern.matches_file(path) {
                selected = if pattern.negate { None } else { Some(index) };
            }
        }
        selected
    }

    /// Returns whether anything below the directory may be selected.
    ///
    /// An exclude that matches a directory excludes everything below it, so only includes that
    /// come later can reach inside.
    pub fn may_select_below(&self, directory: &[&str]) -> bool {
        let closed = self.0.iter().rposition(|pattern| pattern.negate && pattern.matches_all_below(directory));
        let reopening = &self.0[closed.map_or(0, |at| at + 1)..];
        reopening.iter().any(|pattern| {
            !pattern.negate && (pattern.matches_all_below(directory) || pattern.may_match_below(directory))
        })
    }
}

impl Pattern {
    fn parse(line: &str, workspace: &Path) -> Result<Self, &'static str> {
        let mut negate = false;
        let mut rest = line.trim();
        while let Some(after) = rest.strip_prefix('!') {
            negate = !negate;
            rest = after.trim();
        }
        if rest.is_empty() {
            return Err("it is empty");
        }
        if rest == "~" || rest.starts_with("~/") {
            return Err("it must be relative to the workspace");
        }
        let directories_only = rest.ends_with('/');
        let mut components: Vec<&str> = rest.split('/').filter(|component| !component.is_empty()).collect();
        if components.first() == Some(&".") {
            components.remove(0);
        }
        if rest.starts_with('/') {
            components = strip_workspace(components, workspace).ok_or("it lies outside the workspace")?;
        }
        let mut segments = Vec::with_capacity(components.len());
        for component in components {
            match Segment::parse(component) {
                Segment::Literal(literal) if literal == ".." => return Err("`..` is not allowed"),
                Segment::Literal(literal) if literal == "." => return Err("`.` is allowed only at the start"),
                // Two globstars in a row say no more than one.
                Segment::Globstar if segments.last() == Some(&Segment::Globstar) => {}
                segment => segments.push(segment),
            }
        }
        Ok(Self { text: line.to_owned(), negate, directories_only, segments })
    }

    /// Returns whether it matches a file by itself or by a directory above it.
    pub fn matches_file(&self, path: &[&str]) -> bool {
        let longest = if self.directories_only { path.len() } else { path.len() + 1 };
        (0..longest).any(|length| self.names(&path[..length]))
    }

    fn matches_all_below(&self, directory: &[&str]) -> bool {
        (0..=directory.len()).any(|length| self.names(&directory[..length]))
    }

    /// Whether the pattern names exactly this path; `a/**` names `a` as well.
    fn names(&self, path: &[&str]) -> bool {
        let before_globstar = match self.segments.split_last() {
            Some((Segment::Globstar, before)) => match_segments(before, path),
            _ => false,
        };
        before_globstar || match_segments(&self.segments, path)
    }

    fn may_match_below(&self, directory: &[&str]) -> bool {
        match_start(&self.segments, directory)
    }
}

/// Turns an absolute pattern into one relative to the workspace.
fn strip_workspace<'a>(components: Vec<&'a str>, workspace: &Path) -> Option<Vec<&'a str>> {
    let root: Vec<String> = workspace
        .components()
        .filter_map(|component| match component {
            std::path::Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect();
    let literal = |component: &str| match Segment::parse(component) {
        Segment::Literal(text) => Some(text),
        _ => None,
    };
    if components.len() < root.len() {
        return None;
    }
    let inside = components.iter().zip(&root).all(|(component, name)| literal(component).as_ref() == Some(name));
    inside.then(|| components[root.len()..].to_vec())
}

fn match_segments(segments: &[Segment], path: &[&str]) -> bool {
    match segments.split_first() {
        None => path.is_empty(),
        // A final globstar stands for at least one component.
        Some((Segment::Globstar, [])) => !path.is_empty(),
        Some((Segment::Globstar, rest)) => (0..=path.len()).any(|skip| match_segments(rest, &path[skip..])),
        Some((segment, rest)) => match path.split_first() {
            Some((component, below)) => segment.matches(component) && match_segments(rest, below),
            None => false,
        },
    }
}

/// Whether the path could be the beginning of a match.
fn match_start(segments: &[Segment], path: &[&str]) -> bool {
    match (segments.split_first(), path.split_first()) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some((Segment::Globstar, _)), Some(_)) => true,
        (Some((segment, rest)), Some((component, below))) => segment.matches(component) && match_start(rest, below),
    }
}

impl Segment {
    fn parse(component: &str) -> Self {
        if component == "**" {
            return Self::Globstar;
        }
        let units: Vec<u16> = component.encode_utf16().collect();
        let mut tokens = Vec::new();
        let mut at = 0;
        while at < units.len() {
            match char_of(units[at]) {
                '\\' if at + 1 < units.len() => {
                    tokens.push(Token::Unit(units[at + 1]));
                    at += 2;
                }
                '*' => {
                    if tokens.last() != Some(&Token::Star) {
                        tokens.push(Token::Star);
                    }
                    at += 1;
                }
                '?' => {
                    tokens.push(Token::Any);
                    at += 1;
                }
                '[' => match parse_class(&units[at..]) {
                    Some((token, length)) => {
                        tokens.push(token);
                        at += length;
                    }
                    // Without its end, the bracket stands for itself.
                    None => {
                        tokens.push(Token::Unit(units[at]));
                        at += 1;
                    }
                },
                _ => {
                    tokens.push(Token::Unit(units[at]));
                    at += 1;
                }
            }
        }
        let literal: Option<Vec<u16>> = tokens
            .iter()
            .map(|token| match token {
                Token::Unit(unit) => Some(*unit),
                _ => None,
            })
            .collect();
        match literal {
            Some(units) => Self::Literal(String::from_utf16_lossy(&units)),
            None => Self::Wild(tokens),
        }
    }

    fn matches(&self, component: &str) -> bool {
        match self {
            Self::Globstar => false,
            Self::Literal(text) => text == component,
            Self::Wild(tokens) => {
                let units: Vec<u16> = component.encode_utf16().collect();
                match_tokens(tokens, &units)
            }
        }
    }
}

fn char_of(unit: u16) -> char {
    char::from_u32(u32::from(unit)).unwrap_or('\u{fffd}')
}

/// Reads `[...]` from its bracket; `None` where it has no end.
fn parse_class(units: &[u16]) -> Option<(Token, usize)> {
    let mut at = 1;
    let negate = matches!(units.get(1).copied().map(char_of), Some('!' | '^'));
    if negate {
        at += 1;
    }
    let mut members: Vec<u16> = Vec::new();
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    let mut start: Option<u16> = None;
    let mut first = true;
    loop {
        let mut unit = *units.get(at)?;
        if char_of(unit) == ']' && !first {
            break;
        }
        first = false;
        if char_of(unit) == '\\' {
            at += 1;
            unit = *units.get(at)?;
        }
        at += 1;
        if let Some(low) = start.take() {
            // A range that runs backwards matches nothing; its neighbours still count.
            if low <= unit {
                ranges.push((low, unit));
            }
            continue;
        }
        match (units.get(at).copied().map(char_of), units.get(at + 1).copied().map(char_of)) {
            (Some('-'), Some(']')) => {
                members.push(unit);
                members.push(u16::from(b'-'));
                at += 1;
            }
            (Some('-'), _) => {
                start = Some(unit);
                at += 1;
            }
            _ => members.push(unit),
        }
    }
    let length = at + 1;
    if let ([only], [], false) = (members.as_slice(), ranges.as_slice(), negate) {
        return Some((Token::Unit(*only), length));
    }
    ranges.extend(members.into_iter().map(|unit| (unit, unit)));
    // A class with nothing in it matches nothing, negated or not.
    let negate = negate && !ranges.is_empty();
    Some((Token::Class { negate, ranges }, length))
}

/// Matches with at most one point of return, so no pattern takes more than quadratic time.
fn match_tokens(tokens: &[Token], units: &[u16]) -> bool {
    let (mut token, mut unit) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        let step = match tokens.get(token) {
            Some(Token::Star) => {
                back = Some((token, unit));
                token += 1;
                continue;
            }
            Some(one) => units.get(unit).is_some_and(|&unit| one.matches(unit)),
            None if unit == units.len() => return true,
            None => false,
        };
        if step {
            token += 1;
            unit += 1;
            continue;
        }
        match back {
            Some((star, from)) if from < units.len() => {
                back = Some((star, from + 1));
                token = star + 1;
                unit = from + 1;
            }
            _ => return false,
        }
    }
}

impl Token {
    fn matches(&self, unit: u16) -> bool {
        match self {
            Self::Unit(wanted) => *wanted == unit,
            Self::Any | Self::Star => true,
            Self::Class { negate, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&unit)) != *negate
            }
        }
    }
}

#[cfg(test)]
mod tests;
