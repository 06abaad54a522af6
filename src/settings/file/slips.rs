//! Finds frequent slips in the text of the configuration file: patterns and brackets that YAML
//! takes for something else.
//!
//! The parser notes such a slip behind its place, or far from it. The scanner knows the places.

use std::collections::BTreeSet;

use yaml_rust2::ScanError;
use yaml_rust2::scanner::{Marker, Scanner, TScalarStyle, Token, TokenType};

use super::keys::{self, FILE, MODEL, ROLES};
use super::place::{Fault, Place, place};

/// Texts that the scanner cannot take. Each leads to another scan of the whole file.
const MAX_SCANS: usize = 20;

/// A text that the parser can read, and what was wrong with it.
#[derive(Default)]
pub(super) struct Slips {
    /// The text in which every slip has the length of before.
    pub(super) text: String,
    pub(super) faults: Vec<Fault>,
    /// The places of the values that are not as the user meant them.
    pub(super) spoilt: BTreeSet<Place>,
    chars: Vec<char>,
    /// Brackets in flow style, and whether each opens.
    brackets: Vec<(Marker, bool)>,
    /// Quoted texts.
    quoted: Vec<Marker>,
}

/// Replaces anchors, aliases and tags, so that the parser finds the other faults of the file.
/// The scan ends where more brackets than `max_depth` are open.
pub(super) fn mend(text: &str, max_depth: usize) -> Slips {
    let mut slips = Slips { chars: text.chars().collect(), ..Slips::default() };
    for _ in 0..MAX_SCANS {
        let chars = slips.chars.clone();
        if !slips.scan(&chars, max_depth) {
            break;
        }
    }
    slips.text = slips.chars.iter().collect();
    slips
}

impl Slips {
    /// Looks at every token. Returns whether the text has changed so that it needs another scan.
    fn scan(&mut self, chars: &[char], max_depth: usize) -> bool {
        self.brackets.clear();
        self.quoted.clear();
        let mut anchors = BTreeSet::new();
        let mut depth = 0;
        let mut scanner = Scanner::new(chars.iter().copied());
        for Token(marker, token) in scanner.by_ref() {
            match token {
                TokenType::Alias(name) if anchors.contains(&name) => {
                    let text = "an alias is not accepted here; write the value in each place";
                    self.spoil(&marker, text.to_owned());
                }
                TokenType::Alias(_) => drop(self.unquoted(&marker)),
                TokenType::Anchor(name) => {
                    self.blank(&marker, "an anchor");
                    anchors.insert(name);
                }
                TokenType::Tag(..) => self.tag(&marker),
                TokenType::FlowSequenceStart | TokenType::FlowMappingStart => {
                    self.brackets.push((marker, true));
                    depth += 1;
                    if depth > max_depth {
                        return false;
                    }
                }
                TokenType::FlowSequenceEnd | TokenType::FlowMappingEnd => {
                    self.brackets.push((marker, false));
                    depth = depth.saturating_sub(1);
                    if self.goes_on(&marker)
                        && let Some(open) = self.opening()
                    {
                        self.unquoted(&open);
                        self.fill(&open, &marker);
                        return true;
                    }
                }
                TokenType::Scalar(TScalarStyle::SingleQuoted | TScalarStyle::DoubleQuoted, _) => {
                    self.quoted.push(marker);
                }
                _ => {}
            }
        }
        scanner.get_error().is_some_and(|error| self.unquoted(error.marker()))
    }

    /// Returns the bracket that opens the value at whose end the scanner is.
    fn opening(&self) -> Option<Marker> {
        let mut depth = 0_usize;
        let opening = self.brackets.iter().rfind(|(_, opens)| {
            depth = if *opens { depth.saturating_sub(1) } else { depth + 1 };
            depth == 0
        });
        opening.map(|(marker, _)| *marker)
    }

    /// Makes a text of a value in brackets.
    fn fill(&mut self, from: &Marker, to: &Marker) {
        let within = &mut self.chars[from.index()..=to.index()];
        within.iter_mut().filter(|c| !c.is_whitespace()).for_each(|c| *c = 'x');
    }

    /// Returns whether a text follows a closing bracket at once, as in `[ab]*.csv`.
    fn goes_on(&self, marker: &Marker) -> bool {
        let next = self.chars.get(marker.index() + 1);
        next.is_some_and(|c| !c.is_whitespace() && !matches!(c, ':' | ',' | ']' | '}' | '#'))
    }

    /// Notes a text that needs quotes. Returns false if no such text begins at the marker.
    fn unquoted(&mut self, marker: &Marker) -> bool {
        let Some(first) = self.chars.get(marker.index()).copied() else { return false };
        let what = match first {
            '!' | '*' | '&' | '[' | '{' => "pattern",
            '@' | '`' | '%' | '>' | '|' => "text",
            _ => return false,
        };
        let code = if first == '`' { "a backtick".to_owned() } else { format!("`{first}`") };
        self.spoil(marker, format!("a {what} that begins with {code} needs quotes"));
        true
    }

    fn spoil(&mut self, marker: &Marker, text: String) {
        self.spoilt.insert(place(marker));
        self.faults.push(Fault { place: place(marker), text });
        self.chars[marker.index()] = 'x';
    }

    /// A tag of YAML has two exclamation marks or an address. Anything else is an exclusion.
    fn tag(&mut self, marker: &Marker) {
        match self.chars.get(marker.index() + 1) {
            Some('!' | '<') => self.blank(marker, "a tag"),
            _ => drop(self.unquoted(marker)),
        }
    }

    fn blank(&mut self, marker: &Marker, what: &str) {
        let is_end = |c: &char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '{' | '}');
        let rest = &mut self.chars[marker.index()..];
        let length = rest.iter().position(is_end).unwrap_or(rest.len());
        if rest[1] != '<' && rest[..length].iter().any(|c| matches!(c, '/' | '*')) {
            self.unquoted(marker);
            return;
        }
        rest[..length].fill(' ');
        let text = format!("the value has {what}, which is not accepted; leave it out");
        self.faults.push(Fault { place: place(marker), text });
    }

    /// Returns the faults that stopped the parser, at the places where the user made them.
    pub(super) fn explain(&self, error: &ScanError) -> Vec<Fault> {
        let spaces = self.missing_spaces(error.marker().line());
        if !spaces.is_empty() {
            return spaces;
        }
        let told = self.open_quote(error).or_else(|| self.open_bracket(error.marker()));
        let told = told.or_else(|| self.odd_colon(error));
        let (marker, text) =
            told.unwrap_or_else(|| (*error.marker(), format!("it is not YAML: {}", error.info())));
        vec![Fault { place: place(&marker), text }]
    }

    /// Finds keys without a colon, or without a space behind it, up to a line.
    fn missing_spaces(&self, last: usize) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (index, line) in self.text.lines().take(last).enumerate() {
            let (at, text) = match missing_space(line) {
                Some(at) => (at, "a space is missing after `:`"),
                None if is_key(line) => (line.trim_end().len(), "a `:` is missing after the key"),
                None => continue,
            };
            let place = Place { line: index + 1, column: at + 1 };
            faults.push(Fault { place, text: text.to_owned() });
        }
        faults
    }

    /// Finds a quote that was not closed, or was closed by the first quote of another text.
    fn open_quote(&self, error: &ScanError) -> Option<(Marker, String)> {
        const UNCLOSED: [&str; 3] =
            ["end of stream", "indentation in quoted", "found unexpected doc"];
        let text = "the quote is never closed".to_owned();
        let at = error.marker();
        if UNCLOSED.iter().any(|info| error.info().contains(info)) {
            let is_quote = matches!(self.chars.get(at.index()), Some('"' | '\''));
            return is_quote.then_some((*at, text));
        }
        let quote = *self.quoted.iter().rfind(|quote| quote.index() < at.index())?;
        let between = &self.chars[quote.index() + 1..at.index()];
        let (_, last) = between.split_at(between.iter().rposition(|c| *c == '\n')?);
        last.contains(&self.chars[quote.index()]).then_some((quote, text))
    }

    /// Finds the innermost open bracket, if the error lies outside it.
    fn open_bracket(&self, at: &Marker) -> Option<(Marker, String)> {
        let mut open = Vec::new();
        for (bracket, opens) in self.brackets.iter().filter(|it| it.0.index() < at.index()) {
            if *opens {
                open.push(bracket);
            } else {
                open.pop();
            }
        }
        let bracket = open.pop()?;
        let kind = self.chars[bracket.index()];
        let is_open = match self.chars.get(at.index()..).unwrap_or_default() {
            rest if rest.iter().all(|c| c.is_whitespace()) => true,
            [']', ..] => kind == '{',
            ['}', ..] => kind == '[',
            _ => bracket.line() < at.line() && self.indent(at) <= self.indent(bracket),
        };
        is_open.then(|| (*bracket, format!("the bracket `{kind}` is never closed")))
    }

    /// Returns the spaces before the line of a marker.
    fn indent(&self, marker: &Marker) -> usize {
        let begin = marker.index().saturating_sub(marker.col());
        self.chars[begin..].iter().take_while(|c| **c == ' ').count()
    }

    /// Finds a text in which a colon and a space stand without quotes, and a key in a wrong column.
    fn odd_colon(&self, error: &ScanError) -> Option<(Marker, String)> {
        let at = error.marker();
        let begin = at.index().checked_sub(at.col())?;
        let line: String = self.chars.get(begin..at.index())?.iter().collect();
        let is_colon = self.chars.get(at.index()) == Some(&':');
        if error.info().starts_with("mapping values") && line.contains(": ") {
            return Some((*at, "a text that contains `: ` needs quotes".to_owned()));
        }
        let text = "the indentation of this key differs from that of its neighbours".to_owned();
        (is_colon && is_key(&line)).then_some((*at, text))
    }
}

/// Returns whether a line is nothing but a key of the file.
fn is_key(line: &str) -> bool {
    [FILE, ROLES, MODEL].iter().any(|keys| keys::find(keys, line.trim()).is_some())
}

/// Returns the characters before the value if a key of the file has no space before its value.
pub(super) fn missing_space(line: &str) -> Option<usize> {
    let (name, value) = line.split_once(':')?;
    let follows = value.chars().next().is_some_and(|c| !c.is_whitespace());
    (is_key(name) && follows).then(|| name.chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::super::yaml::parse;
    use super::*;

    fn told(fault: &Fault) -> String {
        format!("{}:{} {}", fault.place.line, fault.place.column, fault.text)
    }

    fn faults(text: &str) -> Vec<String> {
        parse(text).1.iter().map(told).collect()
    }

    #[test]
    fn a_pattern_without_quotes_has_its_own_place() {
        for (text, places) in [
            ("data:\n  - data/**\n  - !data/x.csv\npath: m\n", vec!["3:5 !"]),
            ("data: !data/x\npath: m\n", vec!["1:7 !"]),
            ("data: !data/x", vec!["1:7 !"]),
            ("data: ! x/**\n", vec!["1:7 !"]),
            ("data: [data/**, !data/x]\n", vec!["1:17 !"]),
            ("data: [!*.tmp, !x/%%, !a]\n", vec!["1:8 !", "1:16 !", "1:23 !"]),
            ("data: **/*.csv\npath: *.x\n", vec!["1:7 *", "2:7 *"]),
            ("data:\n  - *\n  - *.{csv,tsv}\n", vec!["2:5 *", "3:5 *"]),
            ("# !a\r\ndata: '!a' # *b\r\npath: !ü b\r\n", vec!["3:7 !"]),
            ("region: @x\n", vec!["1:9 @"]),
            ("min-metrics:\n  - >= 0.9\n  - >0\n", vec!["2:5 >", "3:5 >"]),
            ("data: [ab]*.csv\npath:\n  - {a,b}/*.csv\n", vec!["1:7 [", "3:5 {"]),
            ("data: [d/**, {a,b}/*.csv, [c].csv, !x]\n", vec!["1:14 {", "1:27 [", "1:36 !"]),
            ("data: &x/**\npath: !!x/y\n", vec!["1:7 &", "2:7 !"]),
        ] {
            let mut found = parse(text).1;
            found.sort_by_key(|fault| fault.place);
            let found: Vec<String> = found.iter().map(told).collect();
            let is_told = |(found, place): (&String, &&str)| {
                let (place, first) = place.split_once(' ').unwrap();
                found.starts_with(&format!("{place} a "))
                    && found.ends_with(&format!(" that begins with `{first}` needs quotes"))
            };
            assert_eq!(found.len(), places.len(), "{text:?}: {found:?}");
            assert!(found.iter().zip(&places).all(is_told), "{text:?}: {found:?}");
        }
    }

    #[test]
    fn an_error_is_told_where_it_was_made() {
        for (text, wanted) in [
            ("store:s3://b/c\nregion: x\n", "1:7 a space is missing after `:`"),
            ("m:\n  data: x\n  max-age:30d\n  path: y\n", "3:11 a space is missing after `:`"),
            ("m:\n  data: [a\n  path: b\n", "2:9 the bracket `[` is never closed"),
            ("m:\n  data: [a,\n  path: [b]\nx: y\n", "2:9 the bracket `[` is never closed"),
            ("data: [a\n", "1:7 the bracket `[` is never closed"),
            ("data: {a: [b}\n", "1:11 the bracket `[` is never closed"),
            ("region: \"a\nstore: \"b\"\n", "1:9 the quote is never closed"),
            ("m:\n  data: 'a\nregion: b\n", "2:9 the quote is never closed"),
            ("region: 'a\n", "1:9 the quote is never closed"),
            ("region: a: b\n", "1:10 a text that contains `: ` needs quotes"),
            ("a: [\n  b,\n  c: d: e,\n]\n", "3:8 it is not YAML: "),
            ("m:\n  data\n  path: x\n", "2:7 a `:` is missing after the key"),
            ("m:\n  data: x\n   path: y\n", "3:8 the indentation of this key differs"),
            ("m:\n  data: x\n path: y\n", "3:6 the indentation of this key differs"),
            ("data: [a, b]]\n", "1:13 it is not YAML: "),
            ("a: 'b' c\n", "1:8 it is not YAML: "),
        ] {
            let found = faults(text);
            assert!(found.len() == 1 && found[0].starts_with(wanted), "{text:?}: {found:?}");
        }
    }

    #[test]
    fn a_file_without_a_slip_stays_as_it_is() {
        for text in [
            "data: ['!a', \"*b\", c!d, e*f] # !g *h\n",
            "store: s3://b/c\nextra: { note: \"a\n  data:x\" }\n",
            "data:\n  - data:x\n  - [\n    a\n  ]\n",
            "region: |\n  !a\n  *b\n",
        ] {
            assert_eq!(faults(text), [""; 0], "{text:?}");
            assert_eq!(mend(text, 8).text, text);
        }
    }
}
