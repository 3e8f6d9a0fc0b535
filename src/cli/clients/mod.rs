//! `linkgate clients`: who may call the API.

mod options;
mod way;

use clap::{Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use self::options::{PolicyOptions, PolicyPart};
use self::way::Way;
use super::revocations::text;
use super::{Common, Outcome, Server};
use crate::app;
use crate::clients::Role;
use crate::process;

/// A running Linkgate takes up changes within a second, on every machine that shares the store.
///
/// They are made in the store itself, or through --server with the key of a client that has the role `admin`. Clients of
/// the configuration are shown, and changed where they stand.
#[derive(Subcommand)]
pub enum Clients {
    /// Add a client and print its API key, this once.
    ///
    /// A backend that makes links for its users, each link for one user by name, at most 50 a second and 5 for each of
    /// them: `linkgate clients add backend --role mint --allow 'users/**' --require subject --links-per-second 50
    /// --subject-links-per-second 5`.
    Add {
        /// Its name: letters, digits, `.`, `_` and `-`.
        name: String,
        /// What it may do; may be given several times.
        #[arg(long = "role", value_enum, required = true)]
        roles: Vec<Role>,
        #[command(flatten)]
        policy: PolicyOptions,
        #[command(flatten)]
        server: Server,
    },
    /// List clients and when they last came; their keys are never shown.
    List {
        #[command(flatten)]
        server: Server,
    },
    /// Show one client: roles, policy, and each key with its id, age and last use.
    Show {
        /// Its name.
        name: String,
        #[command(flatten)]
        server: Server,
    },
    /// Change what a client may do; only what is given changes. Without any option, show it.
    ///
    /// A list that is given replaces the old one: to add a path to two others, give all three. Links that are out stay
    /// as they are.
    Policy {
        /// Its name.
        name: String,
        /// Its roles from now on; may be given several times.
        #[arg(long = "role", value_enum)]
        roles: Vec<Role>,
        #[command(flatten)]
        policy: PolicyOptions,
        /// Give back the default; may be given several times.
        #[arg(long = "clear", value_enum, value_name = "PART")]
        cleared: Vec<PolicyPart>,
        /// The same as JSON, as the API takes it: '{"max_ttl": 3600, "permit": []}'. `null` gives back the default.
        #[arg(long, value_name = "JSON", value_parser = json_object)]
        set: Option<Map<String, Value>>,
        #[command(flatten)]
        server: Server,
    },
    /// Give a client one more API key and print it; the old ones go on working unless --drop-old is given.
    Rotate {
        /// Its name.
        name: String,
        /// Refuse every older key at once.
        #[arg(long)]
        drop_old: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Remove a client, or one of its keys; what is removed is refused at once. Its links live on: see `revoke --client`.
    Remove {
        /// Its name.
        name: String,
        /// Only the key of this id, as `clients show` tells it.
        #[arg(long, value_name = "ID")]
        key: Option<String>,
        #[command(flatten)]
        server: Server,
    },
}

impl ValueEnum for Role {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.as_str()))
    }
}

fn json_object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

impl Clients {
    pub fn run(self, common: &Common) -> Outcome {
        let config = common.load_quietly()?;
        app::create_data_dir(&config.data_dir)?;
        process::runtime()?.block_on(async {
            let way = Way::find(self.server(), &config).await?;
            self.execute(common, &way).await
        })?;
        Ok(())
    }

    const fn server(&self) -> &Server {
        match self {
            Self::Add { server, .. }
            | Self::List { server }
            | Self::Show { server, .. }
            | Self::Policy { server, .. }
            | Self::Rotate { server, .. }
            | Self::Remove { server, .. } => server,
        }
    }

    async fn execute(self, common: &Common, way: &Way<'_>) -> anyhow::Result<()> {
        let output = common.output();
        let show_key = |name: &str, key: &str| output.print(&json!({ "client": name, "key": key }), |_| key.to_owned());
        match self {
            Self::Add { name, roles, policy, .. } => {
                let key = way.add(&name, &roles, policy.into_patch()).await?;
                show_key(&name, &key)
            }
            Self::Rotate { name, drop_old, .. } => {
                let key = way.add_key(&name, drop_old).await?;
                show_key(&name, &key)
            }
            Self::Remove { name, key: Some(id), .. } => {
                way.drop_key(&name, &id).await?;
                output.print(&json!({ "removed": id, "client": name }), |_| format!("removed key {id} of {name}"))
            }
            Self::Remove { name, key: None, .. } => {
                way.remove(&name).await?;
                output.print(&json!({ "removed": name }), |_| format!("removed {name}"))
            }
            Self::Show { name, .. } => output.print(&way.find_client(&name).await?, described),
            Self::Policy { name, roles, policy, cleared, set, .. } => {
                let mut changes = policy.into_patch();
                changes.extend(cleared.into_iter().map(|part| (part.as_str().to_owned(), Value::Null)));
                changes.extend(set.unwrap_or_default());
                let mut patch = Map::new();
                if !changes.is_empty() {
                    patch.insert("policy".into(), Value::Object(changes));
                }
                if !roles.is_empty() {
                    patch.insert("roles".into(), json!(roles));
                }
                let client =
                    if patch.is_empty() { way.find_client(&name).await? } else { way.patch(&name, patch).await? };
                output.print(&client, described)
            }
            Self::List { .. } => {
                let rows = way.list().await?;
                let heading = ["CLIENT", "ROLES", "ALLOW", "KEYS", "LAST USED", "KEPT IN"];
                output.table("clients", &rows, &heading, |row| {
                    let keys = row["keys"].as_array();
                    // RFC 3339 in UTC is in order of time but for its decimals.
                    let last = keys.and_then(|keys| keys.iter().filter_map(|key| key["last_used_at"].as_str()).max());
                    let kept = text(&row["kept"]);
                    vec![
                        text(&row["name"]),
                        joined(&row["roles"]),
                        joined(&row["policy"]["allow"]),
                        keys.map_or(0, Vec::len).to_string(),
                        last.unwrap_or("-").to_owned(),
                        if row["shadowed"] == true { format!("{kept}, not in force") } else { kept },
                    ]
                })
            }
        }
    }
}

/// One client for people, a line for each thing there is to say.
fn described(client: &Value) -> String {
    let mut lines = vec![
        ("client", text(&client["name"])),
        ("roles", joined(&client["roles"])),
        ("kept in", text(&client["kept"])),
    ];
    let policy = client["policy"].as_object().into_iter().flatten();
    lines.extend(policy.map(|(name, value)| (name.as_str(), joined(value))));
    for key in client["keys"].as_array().into_iter().flatten() {
        let [id, made, used] = ["id", "created_at", "last_used_at"].map(|name| text(&key[name]));
        lines.push(("key", format!("{id}, made {made}, last used {used}")));
    }
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    lines.iter().map(|(name, value)| format!("{name:<width$}  {value}")).collect::<Vec<_>>().join("\n")
}

/// A list in one cell.
fn joined(value: &Value) -> String {
    match value {
        Value::Array(items) if items.is_empty() => "nothing".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => text(other),
    }
}
