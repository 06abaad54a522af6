//! The contract of [`Store`](super::Store) as checks that run against any adapter and any server.
//!
//! The tests run them on every adapter. The checks use only keys below `conformance/`.

use std::collections::HashSet;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::{BoxFuture, join_all};

use super::{Condition, DynStore, Key, Payload, StoreError, StoreErrorKind as Kind, Version, read};
use crate::format::Digest;

/// A check of one sentence of the contract.
pub struct Check {
    /// The sentence that the store must fulfil.
    pub name: &'static str,
    run: fn(Area) -> BoxFuture<'static, Outcome>,
}

type Outcome = Result<(), String>;

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Check {
    /// Runs the check on new random keys, so several runs can share a store.
    ///
    /// # Errors
    /// Returns a text with the store's actual behaviour.
    pub async fn run(&self, store: DynStore) -> Outcome {
        (self.run)(Area { store, unique: format!("{:032x}", rand::random::<u128>()) }).await
    }
}

/// Returns all checks of the contract.
pub fn checks() -> Vec<Check> {
    macro_rules! checks {
        ($($name:literal => $function:ident,)*) => {
            vec![$(Check { name: $name, run: |area| Box::pin($function(area)) },)*]
        };
    }
    checks! {
        "a missing object has no meta" => missing_has_no_meta,
        "reading a missing object says not found" => missing_is_not_found,
        "what is put is got" => round_trip,
        "an empty object is an object" => empty_object,
        "an object of 9 MiB comes back whole" => large_object,
        "meta tells the size" => meta_tells_the_size,
        "a read over its limit is refused" => limit_holds,
        "an unconditional put replaces" => put_replaces,
        "create-only creates" => create_creates,
        "create-only refuses an existing object and leaves it" => create_refuses_existing,
        "create-only refuses the same bytes too" => create_refuses_same_bytes,
        "an update of the current version succeeds" => update_current,
        "an update of a stale version is refused and changes nothing" => update_stale,
        "an update of a missing object is refused" => update_missing,
        "put, get and head agree on the version" => versions_agree,
        "another content has another version" => version_follows_content,
        "bytes that do not have their digest are refused" => damaged_is_refused,
        "a refused put leaves the old object" => damaged_leaves_old,
        "asking whether it can be written writes nothing" => asking_writes_nothing,
        "any text makes a usable key component" => odd_keys,
        "keys that differ in case or in their end are different objects" => similar_keys,
        "a write is seen by the next read, 50 times" => read_after_write,
        "of 16 concurrent creators exactly one wins, 10 times" => one_creator_wins,
        "16 concurrent updaters lose no update" => no_lost_update,
        "a reader never sees a mixture of two objects" => no_torn_read,
        "one object is read by many at once" => many_readers,
    }
}

/// A store, and a random prefix that keeps a check's keys apart from all others.
#[derive(Clone)]
struct Area {
    store: DynStore,
    unique: String,
}

impl Area {
    fn key(&self, name: &str) -> Key {
        Key::scratch(&["conformance", &self.unique, name])
    }

    async fn put(
        &self,
        name: &str,
        bytes: &[u8],
        condition: Condition,
    ) -> Result<Version, StoreError> {
        self.store.put(&self.key(name), Payload::new(bytes.to_vec()), condition).await
    }

    async fn put_ok(&self, name: &str, bytes: &[u8]) -> Result<Version, String> {
        self.put(name, bytes, Condition::None).await.map_err(text)
    }

    async fn content(&self, name: &str) -> Result<Option<Bytes>, String> {
        Ok(read(&*self.store, &self.key(name), 64 << 20)
            .await
            .map_err(text)?
            .map(|(bytes, _)| bytes))
    }
}

fn text(error: StoreError) -> String {
    error.to_string()
}

fn want<T: PartialEq + std::fmt::Debug>(what: &str, got: T, wanted: T) -> Outcome {
    if got == wanted { Ok(()) } else { Err(format!("{what}: got {got:?}, wanted {wanted:?}")) }
}

fn want_refusal<T: std::fmt::Debug>(
    what: &str,
    got: Result<T, StoreError>,
    wanted: Kind,
) -> Outcome {
    match got {
        Err(error) => want(what, error.kind, wanted),
        Ok(value) => Err(format!("{what}: got {value:?}, wanted {wanted:?}")),
    }
}

fn patterned(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add((at >> 8) as u8) ^ seed).collect()
}

async fn missing_has_no_meta(area: Area) -> Outcome {
    want("meta", area.store.head(&area.key("x")).await.map_err(text)?, None)
}

async fn missing_is_not_found(area: Area) -> Outcome {
    want_refusal("get", area.store.get(&area.key("x")).await, Kind::NotFound)
}

async fn round_trip(area: Area) -> Outcome {
    area.put_ok("x", b"hello").await?;
    want("content", area.content("x").await?, Some(Bytes::from_static(b"hello")))
}

async fn empty_object(area: Area) -> Outcome {
    area.put_ok("x", b"").await?;
    want("content", area.content("x").await?, Some(Bytes::new()))?;
    want(
        "size",
        area.store.head(&area.key("x")).await.map_err(text)?.and_then(|meta| meta.size),
        Some(0),
    )
}

async fn large_object(area: Area) -> Outcome {
    let bytes = patterned(9 << 20, 7);
    area.put_ok("x", &bytes).await?;
    let got = area.content("x").await?.unwrap_or_default();
    want("digest", Digest::of(&got), Digest::of(&bytes))
}

async fn meta_tells_the_size(area: Area) -> Outcome {
    area.put_ok("x", &patterned(100_000, 1)).await?;
    want(
        "size",
        area.store.head(&area.key("x")).await.map_err(text)?.and_then(|meta| meta.size),
        Some(100_000),
    )?;
    want("size", area.store.get(&area.key("x")).await.map_err(text)?.meta.size, Some(100_000))
}

async fn limit_holds(area: Area) -> Outcome {
    area.put_ok("x", b"0123456789").await?;
    want_refusal("read", read(&*area.store, &area.key("x"), 9).await, Kind::Unusable)?;
    want(
        "read",
        read(&*area.store, &area.key("x"), 10).await.map_err(text)?.map(|(b, _)| b.len()),
        Some(10),
    )
}

async fn put_replaces(area: Area) -> Outcome {
    area.put_ok("x", b"a longer first content").await?;
    area.put_ok("x", b"second").await?;
    want("content", area.content("x").await?, Some(Bytes::from_static(b"second")))
}

async fn create_creates(area: Area) -> Outcome {
    area.put("x", b"one", Condition::Absent).await.map_err(text)?;
    want("content", area.content("x").await?, Some(Bytes::from_static(b"one")))
}

async fn create_refuses_existing(area: Area) -> Outcome {
    area.put_ok("x", b"one").await?;
    want_refusal("put", area.put("x", b"two", Condition::Absent).await, Kind::Exists)?;
    want("content", area.content("x").await?, Some(Bytes::from_static(b"one")))
}

async fn create_refuses_same_bytes(area: Area) -> Outcome {
    area.put("x", b"one", Condition::Absent).await.map_err(text)?;
    want_refusal("put", area.put("x", b"one", Condition::Absent).await, Kind::Exists)
}

async fn update_current(area: Area) -> Outcome {
    let first = area.put_ok("x", b"one").await?;
    let second = area.put("x", b"two", Condition::Unchanged(first)).await.map_err(text)?;
    area.put("x", b"three", Condition::Unchanged(second)).await.map_err(text)?;
    want("content", area.content("x").await?, Some(Bytes::from_static(b"three")))
}

async fn update_stale(area: Area) -> Outcome {
    let stale = area.put_ok("x", b"one").await?;
    area.put_ok("x", b"two").await?;
    want_refusal("put", area.put("x", b"three", Condition::Unchanged(stale)).await, Kind::Changed)?;
    want("content", area.content("x").await?, Some(Bytes::from_static(b"two")))
}

async fn update_missing(area: Area) -> Outcome {
    let version = area.put_ok("x", b"one").await?;
    want_refusal("put", area.put("y", b"one", Condition::Unchanged(version)).await, Kind::Changed)?;
    want("content", area.content("y").await?, None)
}

async fn versions_agree(area: Area) -> Outcome {
    let put = area.put_ok("x", b"one").await?;
    let got = area.store.get(&area.key("x")).await.map_err(text)?.meta.version;
    let head = area.store.head(&area.key("x")).await.map_err(text)?.map(|meta| meta.version);
    want("version of get", &got, &put)?;
    want("version of head", head.as_ref(), Some(&put))
}

async fn version_follows_content(area: Area) -> Outcome {
    let mut seen = HashSet::new();
    for round in 0..20_u8 {
        let version = area.put_ok("x", &[round]).await?;
        if !seen.insert(version.0.clone()) {
            return Err(format!("version {} came back in round {round}", version.0));
        }
    }
    Ok(())
}

fn damaged(bytes: &'static [u8]) -> Payload {
    Payload::with_digest(Digest::of(b"something else"), bytes)
}

async fn damaged_is_refused(area: Area) -> Outcome {
    let result = area.store.put(&area.key("x"), damaged(b"flipped"), Condition::None).await;
    want_refusal("put", result, Kind::Damaged)?;
    want("content", area.content("x").await?, None)
}

async fn damaged_leaves_old(area: Area) -> Outcome {
    area.put_ok("x", b"good").await?;
    let result = area.store.put(&area.key("x"), damaged(b"flip"), Condition::None).await;
    want_refusal("put", result, Kind::Damaged)?;
    want("content", area.content("x").await?, Some(Bytes::from_static(b"good")))
}

async fn asking_writes_nothing(area: Area) -> Outcome {
    area.store.check_writable(&area.key("x")).await.map_err(text)?;
    want("meta", area.store.head(&area.key("x")).await.map_err(text)?, None)?;
    area.put_ok("x", b"one").await?;
    area.store.check_writable(&area.key("x")).await.map_err(text)?;
    want("content", area.content("x").await?, Some(Bytes::from_static(b"one")))
}

async fn odd_keys(area: Area) -> Outcome {
    for name in [
        "a b",
        "ü",
        "日本",
        "100%",
        "a+b",
        "a&b=c?d#e",
        "..",
        ".",
        "feature/x",
        "'\"<>",
        "a\nb",
        "~",
        &"n".repeat(80),
    ] {
        area.put(name, name.as_bytes(), Condition::Absent).await.map_err(text)?;
        want(name, area.content(name).await?, Some(Bytes::from(name.to_owned())))?;
    }
    Ok(())
}

async fn similar_keys(area: Area) -> Outcome {
    let names = ["key", "Key", "key-", "key.", "key.json", "ke"];
    for name in names {
        area.put(name, name.as_bytes(), Condition::Absent).await.map_err(text)?;
    }
    for name in names {
        want(name, area.content(name).await?, Some(Bytes::from_static(name.as_bytes())))?;
    }
    Ok(())
}

async fn read_after_write(area: Area) -> Outcome {
    for round in 0..50_u32 {
        let bytes = round.to_be_bytes();
        area.put_ok("x", &bytes).await?;
        want("content", area.content("x").await?, Some(Bytes::copy_from_slice(&bytes)))?;
    }
    Ok(())
}

/// Repeats a conditional `put` while the store answers that it could not decide.
async fn decided(
    area: &Area,
    name: &str,
    bytes: &[u8],
    condition: Condition,
) -> Result<Version, StoreError> {
    for _ in 0..20 {
        match area.put(name, bytes, condition.clone()).await {
            Err(error) if error.kind == Kind::Conflict => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await
            }
            other => return other,
        }
    }
    area.put(name, bytes, condition).await
}

async fn one_creator_wins(area: Area) -> Outcome {
    for round in 0..10 {
        let name = format!("round-{round}");
        let racers = (0..16_u8).map(|racer| {
            let (area, name) = (area.clone(), name.clone());
            tokio::spawn(async move { decided(&area, &name, &[racer], Condition::Absent).await })
        });
        let mut winners = Vec::new();
        for (racer, result) in join_all(racers).await.into_iter().enumerate() {
            match result.map_err(|error| error.to_string())? {
                Ok(_) => winners.push(racer as u8),
                Err(error) if error.kind == Kind::Exists => {}
                Err(error) => return Err(text(error)),
            }
        }
        want("number of winners", winners.len(), 1)?;
        want("content", area.content(&name).await?, Some(Bytes::from(winners)))?;
    }
    Ok(())
}

async fn no_lost_update(area: Area) -> Outcome {
    area.put_ok("counter", b"0").await?;
    let racers = (0..16).map(|_| {
        let area = area.clone();
        tokio::spawn(async move {
            for _ in 0..4 {
                loop {
                    let found = read(&*area.store, &area.key("counter"), 64).await.map_err(text)?;
                    let (bytes, version) = found.ok_or("the counter is gone")?;
                    let count: u32 = String::from_utf8_lossy(&bytes)
                        .parse()
                        .map_err(|_| "the counter is torn")?;
                    let next = (count + 1).to_string();
                    match area.put("counter", next.as_bytes(), Condition::Unchanged(version)).await
                    {
                        Ok(_) => break,
                        Err(error) if matches!(error.kind, Kind::Changed | Kind::Conflict) => {}
                        Err(error) => return Err(text(error)),
                    }
                }
            }
            Ok::<(), String>(())
        })
    });
    for result in join_all(racers).await {
        result.map_err(|error| error.to_string())??;
    }
    want("counter", area.content("counter").await?, Some(Bytes::from_static(b"64")))
}

async fn no_torn_read(area: Area) -> Outcome {
    let (one, two) = (vec![1_u8; 300_000], vec![2_u8; 200_000]);
    area.put_ok("x", &one).await?;
    let writer = {
        let (area, one, two) = (area.clone(), one.clone(), two.clone());
        tokio::spawn(async move {
            for round in 0..20 {
                area.put_ok("x", if round % 2 == 0 { &two } else { &one }).await?;
            }
            Ok::<(), String>(())
        })
    };
    while !writer.is_finished() {
        let got = area.content("x").await?.unwrap_or_default();
        if got != one && got != two {
            return Err(format!("{} bytes that were never put", got.len()));
        }
    }
    writer.await.map_err(|error| error.to_string())?
}

async fn many_readers(area: Area) -> Outcome {
    let bytes = patterned(1 << 20, 3);
    area.put_ok("x", &bytes).await?;
    let wanted = Digest::of(&bytes);
    let readers = futures::stream::iter(0..32).map(|_| area.content("x")).buffer_unordered(16);
    let contents: Vec<_> = readers.collect().await;
    for content in contents {
        want("digest", Digest::of(&content?.unwrap_or_default()), wanted)?;
    }
    Ok(())
}
