//! Patterns with the semantics of the runner's `hashFiles`.
//!
//! `hashFiles` is npm's `@actions/glob`. That package matches with minimatch under the options dot,
//! nobrace, nocomment, noext and nonegate. docs/formats.md, "Patterns", states the rules in full.
//! This module applies them to paths relative to the workspace. A character is a UTF-16 code unit.

mod overlap;

use std::fmt;
use std::path::Path;

/// The patterns that follow the user's lines, unless the user turns them off. See docs/formats.md.
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

/// An ordered list of patterns; the last pattern that matches a path decides.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Vec<Pattern>);

/// A parsed line of a list.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// The line as the user wrote it, for messages.
    pub text: String,
    /// The place of the line in the configuration file, for messages; `None` if it is not from
    /// there.
    place: Option<String>,
    /// Whether the pattern excludes: an odd number of leading `!`.
    pub negate: bool,
    /// Whether the pattern ends with `/`. It then matches directories, and so all files below them.
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
    /// Matches a code unit inside the ranges. With `negate` it matches a code unit outside of them.
    Class {
        negate: bool,
        ranges: Vec<(u16, u16)>,
    },
}

/// A line that is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPattern {
    /// The line as the user wrote it.
    pub text: String,
    /// The broken rule, for a message.
    pub reason: &'static str,
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.text, self.reason)
    }
}

impl Patterns {
    /// Reads one pattern a line, and skips blank lines and lines that start with `#`.
    ///
    /// # Errors
    /// Returns every line that is not a pattern.
    pub fn parse(text: &str, workspace: &Path) -> Result<Self, Vec<BadPattern>> {
        let mut patterns = Vec::new();
        let mut faults = Vec::new();
        for line in text.split('\n').map(trim) {
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

    /// Notes the places of the lines in the configuration file, for messages.
    #[must_use]
    pub fn at(mut self, place: impl Fn(&str) -> Option<String>) -> Self {
        for pattern in &mut self.0 {
            pattern.place = place(&pattern.text);
        }
        self
    }

    /// Adds the default excludes after the user's patterns. An empty list stays empty.
    #[must_use]
    pub fn with_default_excludes(mut self) -> Self {
        if !self.0.is_empty() {
            let defaults = DEFAULT_EXCLUDES
                .iter()
                .filter_map(|line| Pattern::parse(line, Path::new("/")).ok());
            self.0.extend(defaults);
        }
        self
    }

    /// Returns whether the list has an include. Without an include it selects nothing.
    pub fn has_includes(&self) -> bool {
        self.0.iter().any(|pattern| !pattern.negate)
    }

    /// Returns whether the list selects a file. The last pattern that takes the file must be an
    /// include.
    pub fn selects(&self, path: &[&str]) -> bool {
        self.0
            .iter()
            .rev()
            .find(|pattern| pattern.takes(path))
            .is_some_and(|pattern| !pattern.negate)
    }

    /// Returns whether the list selects a directory itself. Here a pattern that ends with `/` takes
    /// the directory, too.
    pub fn selects_directory(&self, path: &[&str]) -> bool {
        let last = self.0.iter().rev().find(|pattern| pattern.takes_all_below(path));
        last.is_some_and(|pattern| !pattern.negate)
    }

    /// Returns whether an include is exactly this path, without any wildcard, and no later exclude
    /// takes the path.
    pub fn names(&self, path: &[&str]) -> bool {
        let says = |pattern: &&Pattern| match pattern.negate {
            true => pattern.takes(path),
            false => pattern.is_exactly(path),
        };
        self.0.iter().rev().find(says).is_some_and(|pattern| !pattern.negate)
    }

    /// Returns whether the list may select anything below the directory.
    ///
    /// An exclude that matches a directory excludes everything below it. Only a later include can
    /// select anything there.
    pub fn may_select_below(&self, directory: &[&str]) -> bool {
        let closed =
            self.0.iter().rposition(|pattern| pattern.negate && pattern.takes_all_below(directory));
        let reopening = &self.0[closed.unwrap_or(0)..];
        reopening.iter().any(|pattern| {
            !pattern.negate
                && (pattern.takes_all_below(directory) || pattern.may_match_below(directory))
        })
    }
}

/// Notes which includes take a selected file. The others are idle.
#[derive(Debug)]
pub struct Usage<'a> {
    patterns: &'a Patterns,
    used: Vec<bool>,
}

impl<'a> Usage<'a> {
    /// Starts with all includes idle.
    pub fn of(patterns: &'a Patterns) -> Self {
        Self { patterns, used: vec![false; patterns.0.len()] }
    }

    /// Notes a selected file. Every include that takes the file counts, not only the last.
    pub fn mark(&mut self, path: &[&str]) {
        for (used, pattern) in self.used.iter_mut().zip(&self.patterns.0) {
            *used = *used || (!pattern.negate && pattern.takes(path));
        }
    }

    /// Notes a selected directory.
    pub fn mark_directory(&mut self, path: &[&str]) {
        for (used, pattern) in self.used.iter_mut().zip(&self.patterns.0) {
            *used = *used || (!pattern.negate && pattern.takes_all_below(path));
        }
    }

    /// Returns the idle includes, quoted and separated by commas; `None` if no include is idle.
    pub fn idle(&self) -> Option<String> {
        let lines = self.patterns.0.iter().zip(&self.used);
        let idle: Vec<String> = lines
            .filter(|(line, used)| !line.negate && !**used)
            .map(|(line, _)| match &line.place {
                Some(place) => format!("`{}` ({place})", line.text),
                None => format!("`{}`", line.text),
            })
            .collect();
        (!idle.is_empty()).then(|| idle.join(", "))
    }
}

impl Pattern {
    fn parse(line: &str, workspace: &Path) -> Result<Self, &'static str> {
        let mut negate = false;
        let mut rest = trim(line);
        while let Some(after) = rest.strip_prefix('!') {
            negate = !negate;
            rest = trim(after);
        }
        if rest.is_empty() {
            return Err("it is empty");
        }
        if rest == "~" || rest.starts_with("~/") {
            return Err("it must be relative to the workspace");
        }
        let directories_only = rest.ends_with('/');
        let mut components: Vec<&str> =
            rest.split('/').filter(|component| !component.is_empty()).collect();
        if rest.starts_with('/') {
            components =
                strip_workspace(&components, workspace).ok_or("it lies outside the workspace")?;
        } else if components.first() == Some(&".") {
            components.remove(0);
        }
        let mut segments = Vec::with_capacity(components.len());
        for component in components {
            match Segment::parse(component)? {
                Segment::Literal(literal) if literal == ".." => return Err("`..` is not allowed"),
                Segment::Literal(literal) if literal == "." => {
                    return Err("`.` is allowed only at the start");
                }
                // Two globstars in a row match the same paths as one globstar.
                Segment::Globstar if segments.last() == Some(&Segment::Globstar) => {}
                segment => segments.push(segment),
            }
        }
        Ok(Self { text: line.to_owned(), place: None, negate, directories_only, segments })
    }

    /// Returns whether the pattern takes a file, by the file's path or by a directory above it.
    pub fn takes(&self, path: &[&str]) -> bool {
        match_beginning(&self.segments, path, usize::from(self.directories_only))
    }

    fn is_exactly(&self, path: &[&str]) -> bool {
        let is = |(segment, component): (&Segment, &&str)| {
            *segment == Segment::Literal((*component).to_owned())
        };
        !self.directories_only
            && self.segments.len() == path.len()
            && self.segments.iter().zip(path).all(is)
    }

    fn takes_all_below(&self, directory: &[&str]) -> bool {
        match_beginning(&self.segments, directory, 0)
    }

    fn may_match_below(&self, directory: &[&str]) -> bool {
        match_start(&self.segments, directory)
    }
}

/// Removes JavaScript's white space from both ends, because `hashFiles` trims with JavaScript.
pub fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| {
        matches!(c, '\u{9}'..='\u{d}' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}'
            | '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}' | '\u{feff}')
    })
}

/// Turns the components of an absolute pattern into components relative to the workspace.
fn strip_workspace<'a>(components: &[&'a str], workspace: &Path) -> Option<Vec<&'a str>> {
    let resolved = workspace.canonicalize().unwrap_or_else(|_| workspace.to_owned());
    [workspace, &resolved].into_iter().find_map(|root| {
        let root: Vec<String> = root
            .components()
            .filter_map(|component| match component {
                std::path::Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
                _ => None,
            })
            .collect();
        let is = |component: &str, name: &String| {
            Segment::parse(component) == Ok(Segment::Literal(name.clone()))
        };
        let inside = components.len() >= root.len()
            && components.iter().zip(&root).all(|(component, name)| is(component, name));
        inside.then(|| components[root.len()..].to_vec())
    })
}

/// Matches the path or a directory above it, which leaves at least `left` components of the path.
/// A globstar matches any number of components, including none.
///
/// It only ever goes back to the last globstar. The earliest match of all before that globstar
/// leaves the most components, so no later match could do better.
fn match_beginning(segments: &[Segment], path: &[&str], left: usize) -> bool {
    let (mut segment, mut at) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        match (segments.get(segment), path.get(at)) {
            (None, _) => return path.len() - at >= left,
            (Some(Segment::Globstar), _) => {
                segment += 1;
                back = Some((segment, at));
            }
            (Some(_), None) => return false,
            (Some(wanted), Some(component)) if wanted.matches(component) => {
                segment += 1;
                at += 1;
            }
            (Some(_), Some(_)) => {
                let Some((after, from)) = back else { return false };
                (segment, at) = (after, from + 1);
                back = Some((after, at));
            }
        }
    }
}

/// Returns whether some path that begins with `path` could match.
fn match_start(segments: &[Segment], path: &[&str]) -> bool {
    match (segments.split_first(), path.split_first()) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some((Segment::Globstar, _)), Some(_)) => true,
        (Some((segment, rest)), Some((component, below))) => {
            segment.matches(component) && match_start(rest, below)
        }
    }
}

impl Segment {
    fn parse(component: &str) -> Result<Self, &'static str> {
        if component == "**" {
            return Ok(Self::Globstar);
        }
        let units: Vec<u16> = component.encode_utf16().collect();
        let mut tokens = Vec::new();
        let mut at = 0;
        while at < units.len() {
            let rest = &units[at + 1..];
            at += 1;
            match char_of(units[at - 1]) {
                '\\' if !rest.is_empty() => {
                    tokens.push(Token::Unit(rest[0]));
                    at += 1;
                }
                '*' if tokens.last() == Some(&Token::Star) => {}
                '*' => tokens.push(Token::Star),
                '?' => tokens.push(Token::Any),
                // A `[` without a later `]` is an ordinary character.
                '[' if rest.contains(&u16::from(b']')) => {
                    let members: Vec<u16> =
                        rest.iter().copied().take_while(|unit| char_of(*unit) != ']').collect();
                    tokens.push(parse_class(&members)?);
                    at += members.len() + 1;
                }
                _ => tokens.push(Token::Unit(units[at - 1])),
            }
        }
        let literal: Option<Vec<u16>> = tokens
            .iter()
            .map(|token| match token {
                Token::Unit(unit) => Some(*unit),
                _ => None,
            })
            .collect();
        Ok(match literal {
            Some(units) => Self::Literal(String::from_utf16_lossy(&units)),
            None => Self::Wild(tokens),
        })
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

/// Reads the text between `[` and `]`. It refuses classes that the runner's two engines read
/// differently.
fn parse_class(text: &[u16]) -> Result<Token, &'static str> {
    let (negate, members) = match text.split_first() {
        Some((first, rest)) if matches!(char_of(*first), '!' | '^') => (true, rest),
        _ => (false, text),
    };
    if members.is_empty() {
        return Err("a class `[...]` must have members; write `[[]` for a bracket");
    }
    if members.contains(&u16::from(b'\\')) {
        return Err("a class `[...]` must not contain a backslash");
    }
    if members.windows(2).any(|pair| pair == [u16::from(b'['), u16::from(b':')]) {
        return Err("named classes such as `[[:alpha:]]` are not supported");
    }
    let mut ranges = Vec::new();
    let mut rest = members;
    while let Some((&low, after)) = rest.split_first() {
        match after {
            [dash, high, after @ ..] if char_of(*dash) == '-' => {
                if low > *high {
                    return Err("a range in a class `[...]` must not run backwards");
                }
                ranges.push((low, *high));
                rest = after;
            }
            _ => {
                ranges.push((low, low));
                rest = after;
            }
        }
    }
    Ok(match (negate, ranges.as_slice(), members) {
        (false, [_], [only]) => Token::Unit(*only),
        _ => Token::Class { negate, ranges },
    })
}

/// Matches a component in quadratic time at most, because it only ever goes back to the last `*`.
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
            Some((star, from)) if units.get(from).is_some() => {
                token = star;
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
