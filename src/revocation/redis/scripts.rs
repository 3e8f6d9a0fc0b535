//! The Lua scripts: each is one atomic step. Their texts are beside this file.

use std::sync::LazyLock;

use redis::Script;

macro_rules! script {
    ($name:ident, $file:literal) => {
        pub static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!(include_str!("scripts/prelude.lua"), include_str!($file))));
    };
}

script!(INIT, "scripts/init.lua");
script!(REVOKE, "scripts/revoke.lua");
script!(LIFT, "scripts/lift.lua");
script!(BEAT, "scripts/beat.lua");
script!(RESTORE, "scripts/restore.lua");
script!(RESTORED, "scripts/restored.lua");
