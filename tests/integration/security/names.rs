//! Names that stand for Linkgate itself, or for whoever runs it, are nobody else's.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::eventually;
use crate::support::linkgate::Builder;

const RESERVED: [&str; 4] = ["operator", "linkgate", "Operator", "LINKGATE"];
const KEY_PART: &str = "0000000000000000000000000000000000000000000";

fn hash(key: &str) -> String {
    let digest: String = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digest}")
}

#[test]
fn no_way_in_takes_a_client_or_a_provider_of_a_reserved_name() {
    let linkgate = Builder::new().start();
    for name in RESERVED {
        let wish = json!({ "name": name, "roles": ["admin"], "policy": { "allow": ["**"] } });
        let answer = linkgate.api("POST", "/v1/clients", &wish);
        assert_eq!((answer.status, &answer.json()["field"]), (400, &json!("name")), "{name}: {}", answer.text());
        let said = linkgate.run(&["clients", "add", name, "--role", "mint", "--allow", "**"]);
        assert_eq!(said.status.code(), Some(1), "{name}: {said:?}");
        assert!(String::from_utf8_lossy(&said.stderr).contains("reserved"), "{said:?}");

        let client = format!("[[clients]]\nname = \"{name}\"\nroles = [\"inspect\"]\nkey_hashes = [\"{}\"]", hash("x"));
        let provider = format!(
            "[[identity_providers]]\nname = \"{name}\"\nissuer = \"i\"\naudience = \"a\"\nalgorithms = [\"EdDSA\"]\n\
             jwks_file = \"/k\"\nallow = [\"**\"]"
        );
        for section in [client, provider] {
            let other = Builder::new().prepare();
            std::fs::write(other.folder.path().join("linkgate.toml"), &section).unwrap();
            let output = other.run(&["check"]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{section}: {said}");
            assert!(said.contains("reserved"), "{section}: {said}");
        }
    }
}

#[test]
fn a_stored_client_that_has_a_reserved_name_is_left_out_said_so_once_and_can_be_removed() {
    let mut linkgate = Builder::new().prepare();
    let path = linkgate.data_dir().join("clients.json");
    let mut clients: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let key = format!("lgk_operator_{KEY_PART}");
    clients["operator"] = json!({ "roles": ["revoke"], "policy": {}, "keys": [{ "hash": hash(&key) }] });
    std::fs::write(&path, clients.to_string()).unwrap();
    linkgate.launch();
    linkgate.until_ready();
    eventually("the other clients are known", || linkgate.api("GET", "/v1/clients", &Value::Null).status == 200);
    let refused = linkgate.api_with(&key, "POST", "/v1/revocations", &json!({ "subject": "u" }));
    assert_eq!(refused.status, 401, "{}", refused.text());
    assert_eq!(linkgate.api("GET", "/v1/clients/operator", &Value::Null).status, 200);
    let listed = linkgate.api("GET", "/v1/clients", &Value::Null).json();
    let found = listed["clients"].as_array().unwrap().iter().find(|one| one["name"] == "operator").unwrap();
    assert_eq!(found["shadowed"], true, "{found}");
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    let log = linkgate.log();
    assert_eq!(log.matches("a stored client cannot be used").count(), 1, "{log}");
    assert_eq!(linkgate.api("DELETE", "/v1/clients/operator", &Value::Null).status, 204);
}
