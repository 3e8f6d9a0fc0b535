//! How types of the core look in JSON. They say so here and not themselves, so that the core stays free of it.

use std::borrow::Cow;

use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{ArrayBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::clock::Rfc3339;
use crate::revocation::{Applied, Kind};
use crate::token::{Disposition, KeyId};

impl PartialSchema for Rfc3339 {
    fn schema() -> RefOr<Schema> {
        let time = text("A time (RFC 3339): any offset in a request, UTC and up to three decimals in an answer.");
        let time = time.format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
        time.examples(["2026-01-31T12:00:00Z"]).into()
    }
}

impl ToSchema for Rfc3339 {
    fn name() -> Cow<'static, str> {
        "Time".into()
    }
}

impl PartialSchema for Disposition {
    fn schema() -> RefOr<Schema> {
        text("`attachment`: saved; `inline`: shown.").enum_values(Some(["attachment", "inline"])).into()
    }
}

impl ToSchema for Disposition {}

impl PartialSchema for KeyId {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::Integer, Type::String]))
            .description(Some("The number of a key, also as text."))
            .minimum(Some(0))
            .maximum(Some(u32::MAX as usize))
            .pattern(Some("^[0-9]{1,10}$"))
            .examples([1])
            .into()
    }
}

impl ToSchema for KeyId {}

impl PartialSchema for Kind {
    fn schema() -> RefOr<Schema> {
        text("The field that names what is taken back.").enum_values(Some(Self::ALL.map(Self::as_str))).into()
    }
}

impl ToSchema for Kind {}

impl PartialSchema for Applied {
    fn schema() -> RefOr<Schema> {
        let number =
            |about: &str| ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).description(Some(about));
        let missing = ArrayBuilder::new().items(ObjectBuilder::new().schema_type(Type::String));
        ObjectBuilder::new()
            .description(Some("How far the verifiers that were alive have come."))
            .property("verifiers", number("Verifiers that were alive."))
            .property("applied", number("Those that have applied it."))
            .property("slowest_ms", number("From Redis' taking the revocation to the slowest of them refusing by it."))
            .property(
                "missing",
                missing.description(Some("Those that had not reported in time; left out when there are none.")),
            )
            .required("verifiers")
            .required("applied")
            .required("slowest_ms")
            .into()
    }
}

impl ToSchema for Applied {}

fn text(about: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(about))
}
