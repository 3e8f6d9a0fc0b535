//! The Lua scripts: each is one atomic step. Their texts are beside this file.

use std::sync::LazyLock;

use redis::Script;

macro_rules! script {
    ($name:ident, $($file:literal),+) => {
        pub static $name: LazyLock<Script> = LazyLock::new(|| Script::new(concat!($(include_str!($file)),+)));
    };
}

script!(INIT, "scripts/prelude.lua", "scripts/init.lua");
script!(REVOKE, "scripts/prelude.lua", "scripts/revoke.lua");
script!(TELL, "scripts/prelude.lua", "scripts/tell.lua");
script!(LIFT, "scripts/prelude.lua", "scripts/lift.lua");
script!(BEAT, "scripts/prelude.lua", "scripts/beat.lua");
script!(RESTORE, "scripts/prelude.lua", "scripts/restore.lua");
script!(RESTORED, "scripts/prelude.lua", "scripts/restored.lua");
script!(SETTLE, "scripts/prelude.lua", "scripts/settle.lua");
script!(OBJECT, "scripts/prelude.lua", "scripts/object.lua");
script!(COUNT, "scripts/prelude.lua", "scripts/count.lua");
script!(CHANGE_CLIENT, "scripts/change_client.lua");
script!(NOTE_USES, "scripts/note_uses.lua");
script!(REPORT, "scripts/report.lua");
