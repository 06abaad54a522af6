//! The objects, and the few words of S3 that the tools of the benchmark speak.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::wire::{Keep, Request};
use crate::{Failure, lock};

/// Up to here, kept bytes stay in memory, and by default no others are kept.
const SMALL: u64 = 128 << 10;
const PAGE: usize = 1000;

/// The bytes of an object.
#[derive(Clone, Default)]
pub(crate) enum Content {
    #[default]
    Forgotten,
    Memory(Arc<[u8]>),
    File(PathBuf),
}

#[derive(Clone, Default)]
pub(crate) struct Object {
    pub(crate) size: u64,
    pub(crate) content: Content,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) tag: String,
    /// When the object came, in seconds since 1970: tools compare it with the times of files.
    pub(crate) since: u64,
}

pub(crate) struct Objects {
    /// The largest body whose bytes are kept.
    pub(crate) keep: u64,
    directory: PathBuf,
    all: BTreeMap<String, Object>,
    /// The bytes of each multipart upload so far.
    uploads: HashMap<String, u64>,
    number: u64,
}

/// An answer: a head, and the part of the content to send.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// What the head says; an answer to HEAD sends none of it.
    pub(crate) length: u64,
    pub(crate) content: Content,
    pub(crate) offset: u64,
    pub(crate) sent: u64,
}

impl Answer {
    fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    fn xml(status: u16, text: &str) -> Self {
        let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{text}");
        let headers = vec![("content-type".to_owned(), "application/xml".to_owned())];
        let (length, content) = (text.len() as u64, Content::Memory(text.into_bytes().into()));
        Self { status, headers, length, content, offset: 0, sent: length }
    }

    fn error(status: u16, code: &str) -> Self {
        Self::xml(status, &format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>"))
    }
}

impl Objects {
    pub(crate) fn new(directory: PathBuf) -> Self {
        let (all, uploads) = (BTreeMap::new(), HashMap::new());
        Self { keep: SMALL, directory, all, uploads, number: 0 }
    }

    fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub(crate) fn insert(&mut self, key: &str, object: Object) -> String {
        // Like that of a multipart upload: no tool takes it for an MD5.
        let tag = format!("\"{:032x}-1\"", self.next());
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.all.insert(key.to_owned(), Object { tag: tag.clone(), since, ..object });
        tag
    }

    pub(crate) fn remove(&mut self, prefix: &str) -> Result<(), Failure> {
        let keys: Vec<String> =
            self.all.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
        for key in keys {
            if let Some(Object { content: Content::File(path), .. }) = self.all.remove(&key)
                && path.starts_with(&self.directory)
            {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Decides where the body of a request goes.
    pub(crate) fn place(&mut self, request: &Request) -> Keep {
        match request.length {
            length if request.method != "PUT" || length > self.keep => Keep::No,
            length if length <= SMALL => Keep::Memory,
            _ => {
                let name = self.next().to_string();
                Keep::File(self.directory.join(name))
            }
        }
    }

    fn put(&mut self, request: &Request, content: Content) -> Answer {
        let old = self.all.get(&request.path).map(|object| object.tag.as_str());
        match (request.header("if-none-match"), request.header("if-match"), old) {
            (Some(_), _, Some(_)) => return Answer::error(412, "PreconditionFailed"),
            (_, Some(_), None) => return Answer::error(404, "NoSuchKey"),
            (_, Some(tag), Some(old)) if tag != old => {
                return Answer::error(412, "PreconditionFailed");
            }
            _ => {}
        }
        let decoded = request.header("x-amz-decoded-content-length");
        let size = decoded.and_then(|text| text.parse().ok()).unwrap_or(request.length);
        let tag = match request.query("uploadId") {
            Some(upload) => {
                *self.uploads.entry(upload.to_owned()).or_default() += size;
                format!("\"{:032x}\"", self.next())
            }
            None => {
                let headers = request.kept_headers();
                let object = Object { size, content, headers, ..Object::default() };
                self.insert(&request.path, object)
            }
        };
        Answer { headers: vec![("etag".to_owned(), tag)], ..Answer::status(200) }
    }

    fn get(&self, request: &Request) -> Answer {
        let Some(object) = self.all.get(&request.path) else {
            let answer = Answer::error(404, "NoSuchKey");
            return if request.method == "HEAD" { Answer { sent: 0, ..answer } } else { answer };
        };
        let mut headers = vec![
            ("etag".to_owned(), object.tag.clone()),
            ("last-modified".to_owned(), http_date(object.since)),
            ("accept-ranges".to_owned(), "bytes".to_owned()),
            ("content-type".to_owned(), "binary/octet-stream".to_owned()),
        ];
        let checks = request.header("x-amz-checksum-mode").is_some();
        let told = |name: &String| checks || !name.starts_with("x-amz-checksum-");
        headers.extend(object.headers.iter().filter(|(name, _)| told(name)).cloned());
        let (mut status, mut offset, mut length) = (200, 0, object.size);
        if let Some(range) = request.header("range").and_then(|text| text.strip_prefix("bytes=")) {
            let (first, last) = range.split_once('-').unwrap_or((range, ""));
            let first: u64 = first.parse().unwrap_or(0);
            let last = last.parse().unwrap_or(u64::MAX).min(object.size.saturating_sub(1));
            if first >= object.size {
                return Answer::error(416, "InvalidRange");
            }
            (status, offset, length) = (206, first, (last + 1).saturating_sub(first));
            let told = format!("bytes {first}-{last}/{}", object.size);
            headers.push(("content-range".to_owned(), told));
        }
        if request.method == "HEAD" {
            return Answer { headers, length, ..Answer::status(status) };
        }
        if matches!(object.content, Content::Forgotten) && length > 0 {
            // A client must not take silence for bytes.
            return Answer::error(500, "Forgotten");
        }
        let content = object.content.clone();
        Answer { status, headers, length, content, offset, sent: length }
    }

    fn post(&mut self, request: &Request) -> Answer {
        let (bucket, key) = request.path.split_once('/').unwrap_or((&request.path, ""));
        let named = format!("<Bucket>{bucket}</Bucket><Key>{}</Key>", escaped(key));
        if request.query("uploads").is_some() {
            let text = format!("{named}<UploadId>{}</UploadId>", self.next());
            return Answer::xml(
                200,
                &format!("<InitiateMultipartUploadResult>{text}</InitiateMultipartUploadResult>"),
            );
        }
        let Some(upload) = request.query("uploadId") else {
            return Answer::xml(200, "<DeleteResult></DeleteResult>");
        };
        let size = self.uploads.remove(upload).unwrap_or_default();
        let tag = self.insert(&request.path, Object { size, ..Object::default() });
        Answer::xml(
            200,
            &format!(
                "<CompleteMultipartUploadResult>{named}<ETag>{tag}</ETag>\
                 </CompleteMultipartUploadResult>"
            ),
        )
    }

    /// Lists a page of keys, in either version of the request.
    fn list(&self, request: &Request) -> Answer {
        if request.query("location").is_some() {
            return Answer::xml(200, "<LocationConstraint></LocationConstraint>");
        }
        let bucket = format!("{}/", request.path.trim_end_matches('/'));
        let asked = |name| request.query(name).unwrap_or_default();
        let prefix = format!("{bucket}{}", asked("prefix"));
        let delimiter = asked("delimiter");
        let after = ["continuation-token", "marker", "start-after"].map(asked);
        let after = after.iter().find(|text| !text.is_empty()).map(|key| format!("{bucket}{key}"));
        let shown = |key: &str| match asked("encoding-type") {
            "url" => key.replace('%', "%25"),
            _ => escaped(key),
        };
        let (mut text, mut last, mut count, mut full) = (String::new(), String::new(), 0, false);
        let mut group = after.clone().filter(|key| key.ends_with('/'));
        let start = match after {
            Some(key) if key > prefix => Bound::Excluded(key),
            _ => Bound::Included(prefix.clone()),
        };
        for (key, object) in self.all.range((start, Bound::Unbounded)) {
            if !key.starts_with(&prefix) {
                break;
            }
            if group.as_ref().is_some_and(|group| key.starts_with(group)) {
                continue;
            }
            if count == PAGE {
                full = true;
                break;
            }
            count += 1;
            let end = key[prefix.len()..].find(delimiter).filter(|_| !delimiter.is_empty());
            let name = match end {
                Some(end) => &key[..prefix.len() + end + delimiter.len()],
                None => key,
            };
            last = name[bucket.len()..].to_owned();
            if end.is_some() {
                group = Some(name.to_owned());
                let shown = shown(&last);
                text += &format!("<CommonPrefixes><Prefix>{shown}</Prefix></CommonPrefixes>");
                continue;
            }
            text += &format!(
                "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>{}</ETag>\
                 <Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
                shown(&last),
                xml_date(object.since),
                object.tag,
                object.size,
            );
        }
        let next = if full {
            let last = escaped(&last);
            let token = format!("<NextContinuationToken>{last}</NextContinuationToken>");
            format!("<NextMarker>{last}</NextMarker>{token}")
        } else {
            String::new()
        };
        Answer::xml(
            200,
            &format!(
                "<ListBucketResult><Name>{}</Name><Prefix>{}</Prefix><KeyCount>{count}</KeyCount>\
                 <MaxKeys>{PAGE}</MaxKeys><IsTruncated>{full}</IsTruncated>{text}{next}\
                 </ListBucketResult>",
                bucket.trim_end_matches('/'),
                shown(asked("prefix")),
            ),
        )
    }
}

/// Returns year, month and day of a number of days since 1970.
fn date(days: u64) -> (u64, usize, u64) {
    let (mut year, mut left) = (1970, days);
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while left >= 365 + u64::from(is_leap(year)) {
        left -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    for (month, days) in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].iter().enumerate() {
        if left < *days {
            return (year, month, left + 1);
        }
        left -= days;
    }
    (year, 11, 31)
}

fn clock(since: u64) -> String {
    let second = since % 86_400;
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

fn http_date(since: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let days = since / 86_400;
    let (year, month, day) = date(days);
    let (weekday, month) = (DAYS[(days % 7) as usize], &MONTHS[3 * month..3 * month + 3]);
    format!("{weekday}, {day:02} {month} {year} {} GMT", clock(since))
}

fn xml_date(since: u64) -> String {
    let (year, month, day) = date(since / 86_400);
    format!("{year}-{:02}-{day:02}T{}.000Z", month + 1, clock(since))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Answers a request whose body has arrived.
pub(crate) fn answer(objects: &Mutex<Objects>, request: &Request, body: Content) -> Answer {
    let mut objects = lock(objects);
    match (request.method.as_str(), request.key()) {
        ("GET", None) => objects.list(request),
        // A bucket is there as soon as anyone asks for it.
        (_, None) if request.query("delete").is_none() => Answer::status(200),
        ("GET" | "HEAD", _) => objects.get(request),
        ("PUT", _) => objects.put(request, body),
        ("POST", _) => objects.post(request),
        ("DELETE", _) => {
            objects.all.remove(&request.path);
            Answer::status(204)
        }
        _ => Answer::error(501, "NotImplemented"),
    }
}
