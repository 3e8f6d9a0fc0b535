//! What may become of a client: each change as a function from all clients to one of them. Nothing here waits.

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::record::{ClientRecord, KeyRecord, PolicyRecord, RecordError};
use super::{Clients, KeyHash, Role};

/// Most keys of one client: a rotation that runs wild must not fill the store.
pub const MAX_KEYS: usize = 64;

/// What becomes of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub name: String,
    pub before: Option<ClientRecord>,
    /// `None` removes it.
    pub after: Option<ClientRecord>,
}

/// Why nothing becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("there is a client {0} already; rotate it to give it another key")]
    Exists(String),
    #[error("an identity provider is called {0} already")]
    ProvidersName(String),
    #[error("there is no client {0} in the store")]
    Unknown(String),
    #[error("the client {0} has no key of that id")]
    UnknownKey(String),
    #[error("the client {0} is kept in the configuration: it is changed there")]
    ReadOnly(String),
    #[error(
        "{0} is the last client with the role `admin` and a key: nobody could change clients over the API any more; \
         give another client the role first, or use `linkgate clients` on the machine"
    )]
    LastAdmin(String),
    #[error("the client {0} has {MAX_KEYS} keys already; revoke those that are not needed")]
    TooManyKeys(String),
    #[error("the client {0} has changed since it was read")]
    Changed(String),
    #[error("there is no collection {0}")]
    NoSuchCollection(String),
    #[error("{0}")]
    Patch(String),
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// What a client must still be like for a change to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Whatever it is like.
    #[default]
    Any,
    /// As it was when it had one of these tags.
    Tagged(Vec<String>),
}

/// A change of roles and policy, by RFC 7396: what is there replaces what was there, `null` gives back the default, what
/// is left out stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientPatch(Map<String, Value>);

/// The shape of a patch: every field may be missing or `null`, none may be another.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchShape {
    #[serde(rename = "roles")]
    _roles: Option<Vec<Role>>,
    #[serde(rename = "policy")]
    _policy: Option<PolicyRecord>,
}

/// What a patch changes.
#[derive(serde::Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Changeable {
    roles: Vec<Role>,
    #[serde(default)]
    policy: PolicyRecord,
}

impl ClientPatch {
    /// Reads a patch strictly: nothing unknown, nothing twice.
    ///
    /// # Errors
    /// The parser's own words.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        let _: PatchShape = serde_json::from_slice(text)?;
        serde_json::from_slice(text).map(Self)
    }

    fn apply(&self, record: &ClientRecord) -> Result<ClientRecord, Refusal> {
        let wrong = |error: serde_json::Error| Refusal::Patch(error.to_string());
        let now = Changeable { roles: record.roles.clone(), policy: record.policy.clone() };
        let mut target = serde_json::to_value(now).map_err(wrong)?;
        merge(&mut target, &Value::Object(self.0.clone()));
        let Changeable { roles, policy } = serde_json::from_value(target).map_err(wrong)?;
        Ok(ClientRecord { roles, policy, ..record.clone() })
    }
}

/// RFC 7396, section 2.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.shift_remove(name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// A client's tag: another one whenever roles, policy or keys are others.
pub fn tag(record: &ClientRecord) -> String {
    let text = serde_json::to_vec(record).unwrap_or_default();
    let digest: [u8; 32] = Sha256::digest(text).into();
    format!("{:032x}", u128::from_be_bytes(std::array::from_fn(|at| digest[at])))
}

/// A new client with one key.
pub fn add(clients: &Clients, name: &str, record: &ClientRecord, key: &KeyRecord) -> Result<Change, Refusal> {
    if clients.contains_key(name) {
        return Err(Refusal::Exists(name.to_owned()));
    }
    let record = ClientRecord { keys: vec![key.clone()], ..record.clone() };
    record.build(name)?;
    Ok(Change { name: name.to_owned(), before: None, after: Some(record) })
}

/// Another record in the place of a client's.
pub fn edit(
    clients: &Clients,
    name: &str,
    condition: &Condition,
    work: impl FnOnce(&ClientRecord) -> Result<Option<ClientRecord>, Refusal>,
) -> Result<Change, Refusal> {
    let before = clients.get(name).ok_or_else(|| Refusal::Unknown(name.to_owned()))?;
    let after = work(before)?;
    if let Some(record) = &after {
        record.build(name)?;
    }
    // What makes no sense is refused whatever it was meant for.
    if let Condition::Tagged(tags) = condition
        && !tags.contains(&tag(before))
    {
        return Err(Refusal::Changed(name.to_owned()));
    }
    Ok(Change { name: name.to_owned(), before: Some(before.clone()), after })
}

/// Another policy or other roles.
pub fn patch(record: &ClientRecord, patch: &ClientPatch) -> Result<Option<ClientRecord>, Refusal> {
    patch.apply(record).map(Some)
}

/// One more key, or one in the place of all others.
pub fn add_key(
    name: &str,
    record: &ClientRecord,
    key: &KeyRecord,
    drops_old: bool,
) -> Result<Option<ClientRecord>, Refusal> {
    let mut record = record.clone();
    if drops_old {
        record.keys.clear();
    }
    if record.keys.len() >= MAX_KEYS {
        return Err(Refusal::TooManyKeys(name.to_owned()));
    }
    record.keys.push(key.clone());
    Ok(Some(record))
}

/// One key less; it may be the last.
pub fn drop_key(name: &str, record: &ClientRecord, id: &str) -> Result<Option<ClientRecord>, Refusal> {
    let mut record = record.clone();
    let count = record.keys.len();
    record.keys.retain(|key| key.id().as_deref() != Some(id));
    if record.keys.len() == count { Err(Refusal::UnknownKey(name.to_owned())) } else { Ok(Some(record)) }
}

/// Sees to it that somebody is left who may change clients, if there was anybody.
pub fn keep_an_admin(clients: &Clients, change: Change) -> Result<Change, Refusal> {
    let is_admin = |record: &ClientRecord| record.roles.contains(&Role::Admin) && !record.keys.is_empty();
    let others = clients.iter().any(|(name, record)| *name != change.name && is_admin(record));
    let was = change.before.as_ref().is_some_and(is_admin);
    let is = change.after.as_ref().is_some_and(is_admin);
    if was && !is && !others { Err(Refusal::LastAdmin(change.name)) } else { Ok(change) }
}

impl KeyRecord {
    /// What the key is called; `None` when its hash is none.
    pub fn id(&self) -> Option<String> {
        self.hash.parse::<KeyHash>().ok().map(|hash| hash.id())
    }
}

impl Change {
    /// The keys that are no longer there.
    pub fn dropped_keys(&self) -> Vec<String> {
        let left: Vec<_> = self.after.iter().flat_map(|record| &record.keys).collect();
        let dropped = self.before.iter().flat_map(|record| &record.keys).filter(|key| !left.contains(key));
        dropped.filter_map(KeyRecord::id).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::{Rfc3339, UnixMillis};
    use crate::token::Feature;

    fn key(number: u8) -> KeyRecord {
        KeyRecord { hash: format!("sha256:{}", format!("{number:02x}").repeat(32)), created_at: None }
    }

    fn record(roles: &[Role], keys: &[u8]) -> ClientRecord {
        ClientRecord {
            roles: roles.to_vec(),
            policy: PolicyRecord { allow: vec!["a/**".into()], max_ttl: Some(60), ..PolicyRecord::default() },
            keys: keys.iter().copied().map(key).collect(),
            created_at: Some(Rfc3339(UnixMillis(1_000))),
        }
    }

    fn patched(text: &Value) -> Result<ClientRecord, Refusal> {
        let patch = ClientPatch::parse(text.to_string().as_bytes()).unwrap();
        patch.apply(&record(&[Role::Mint], &[1]))
    }

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let before = record(&[Role::Mint], &[1]);
        assert_eq!(patched(&json!({})).unwrap(), before);
        let after = patched(&json!({ "policy": { "require": ["stable"], "links_per_second": 5 } })).unwrap();
        assert_eq!((&after.policy.allow, after.policy.max_ttl), (&before.policy.allow, Some(60)));
        assert_eq!((after.policy.require, after.policy.links_per_second), (vec![Feature::Stable], Some(5)));
        assert_eq!((after.roles, after.keys), (before.roles, before.keys));
        assert_eq!(after.created_at, before.created_at);
        assert_eq!(patched(&json!({ "policy": { "max_ttl": null } })).unwrap().policy.max_ttl, None);
        assert_eq!(patched(&json!({ "policy": { "allow": ["b", "c"] } })).unwrap().policy.allow, ["b", "c"]);
        assert_eq!(patched(&json!({ "policy": null })).unwrap().policy, PolicyRecord::default());
        assert_eq!(patched(&json!({ "roles": ["inspect"] })).unwrap().roles, [Role::Inspect]);
        assert!(matches!(patched(&json!({ "roles": null })), Err(Refusal::Patch(_))));
    }

    #[test]
    fn a_patch_is_read_strictly() {
        for text in [
            "[]",
            r#"{"name":"x"}"#,
            r#"{"keys":[]}"#,
            r#"{"policy":{"alow":[]}}"#,
            r#"{"policy":{"max_ttl":"1h"}}"#,
            r#"{"policy":{"max_ttl":-1}}"#,
            r#"{"policy":{"max_ttl":1.5}}"#,
            r#"{"policy":{"require":["wings"]}}"#,
            r#"{"roles":["mint"],"roles":["admin"]}"#,
            r#"{"policy":{"max_ttl":1,"max_ttl":2}}"#,
        ] {
            assert!(ClientPatch::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_change_meant_for_another_state_is_refused() {
        let clients = Clients::from([("a".into(), record(&[Role::Mint], &[1]))]);
        let seen = Condition::Tagged(vec!["other".into(), tag(&clients["a"])]);
        let remove = |clients: &Clients, condition: &Condition| edit(clients, "a", condition, |_| Ok(None));
        assert!(remove(&clients, &seen).is_ok() && remove(&clients, &Condition::Any).is_ok());
        for changed in [record(&[Role::Admin], &[1]), record(&[Role::Mint], &[1, 2]), record(&[Role::Mint], &[])] {
            let clients = Clients::from([("a".into(), changed)]);
            assert_eq!(remove(&clients, &seen), Err(Refusal::Changed("a".into())));
        }
        assert_eq!(remove(&Clients::new(), &seen), Err(Refusal::Unknown("a".into())));
    }

    #[test]
    fn keys_come_and_go_one_by_one() {
        let before = record(&[Role::Mint], &[1, 2]);
        let added = add_key("a", &before, &key(3), false).unwrap().unwrap();
        assert_eq!(added.keys, [key(1), key(2), key(3)]);
        assert_eq!(add_key("a", &before, &key(3), true).unwrap().unwrap().keys, [key(3)]);
        let dropped = drop_key("a", &before, "010101010101").unwrap().unwrap();
        assert_eq!(dropped.keys, [key(2)]);
        assert_eq!(drop_key("a", &dropped, "020202020202").unwrap().unwrap().keys, []);
        for unknown in ["", "0101", "010101010102", "sha256:01"] {
            assert_eq!(drop_key("a", &before, unknown), Err(Refusal::UnknownKey("a".into())));
        }
        let change = Change { name: "a".into(), before: Some(before), after: Some(dropped) };
        assert_eq!(change.dropped_keys(), ["010101010101"]);
        let full = record(&[Role::Mint], &[7; MAX_KEYS]);
        assert_eq!(add_key("a", &full, &key(3), false), Err(Refusal::TooManyKeys("a".into())));
        assert!(add_key("a", &full, &key(3), true).is_ok());
    }

    #[test]
    fn the_last_admin_stays() {
        let clients = |others: &[(&str, ClientRecord)]| {
            let mut clients = Clients::from([("boss".into(), record(&[Role::Admin], &[1]))]);
            clients.extend(others.iter().map(|(name, record)| ((*name).to_owned(), record.clone())));
            clients
        };
        let becomes = |clients: &Clients, after: Option<ClientRecord>| {
            let change = edit(clients, "boss", &Condition::Any, |_| Ok(after)).unwrap();
            keep_an_admin(clients, change).is_ok()
        };
        let lesser = [None, Some(record(&[Role::Mint], &[1])), Some(record(&[Role::Admin], &[]))];
        for after in lesser {
            assert!(!becomes(&clients(&[]), after.clone()));
            assert!(!becomes(&clients(&[("app", record(&[Role::Mint], &[2]))]), after.clone()));
            assert!(!becomes(&clients(&[("keyless", record(&[Role::Admin], &[]))]), after.clone()));
            assert!(becomes(&clients(&[("deputy", record(&[Role::Admin], &[2]))]), after));
        }
        assert!(becomes(&clients(&[]), Some(record(&[Role::Admin], &[2]))));
    }
}
