//! `[listen]`, `[api]`, `[limits]`: where Linkgate is reached, and what it takes on.

use std::time::Duration;

use super::addresses::parse_address;
use super::origins::check_origins;
use super::section::{Errors, Section};
use super::{DEFAULT_ADDRESS, Overrides};
use crate::http::listen::{Address, ListenConfig, TrustedProxies};
use crate::http::server::Limits;
use crate::http::web::Origins;

pub fn listen(mut section: Section<'_>, overrides: &Overrides, errors: &Errors) -> ListenConfig {
    let fallback = match parse_address(overrides.listen.as_deref().unwrap_or(DEFAULT_ADDRESS)) {
        Ok(address) => address,
        Err(error) => {
            errors.add(&super::tree::Place::Variable("--listen".into()), &error);
            Address::Tcp(DEFAULT_ADDRESS.into())
        }
    };
    let mut address = |key| match (&overrides.listen, section.text(key)) {
        (None, Some(found)) if found.value == "off" => None,
        (None, Some(found)) => {
            Some(found.parse(errors, |text| parse_address(&text)).unwrap_or_else(|| fallback.clone()))
        }
        _ => Some(fallback.clone()),
    };
    let (download, api, ops) = (address("download"), address("api"), address("ops"));
    let socket_mode = section.text("socket_mode").and_then(|mode| {
        mode.parse(errors, |text| {
            u32::from_str_radix(&text, 8)
                .ok()
                .filter(|mode| *mode <= 0o777)
                .ok_or("must be an octal file mode such as \"0660\"")
        })
    });
    let trusted_proxies =
        section.texts("trusted_proxies").and_then(|list| list.parse(errors, |list| TrustedProxies::parse(&list)));
    let client_address_header =
        section.text("client_address_header").and_then(|name| name.parse(errors, parse_address_header));
    if download.is_none() && api.is_none() && ops.is_none() {
        errors.add(section.place(), "every listener is off: there is nothing to serve");
    }
    section.finish();
    let trusted_proxies = trusted_proxies.unwrap_or_default();
    ListenConfig {
        download,
        api,
        ops,
        socket_mode: socket_mode.unwrap_or(0o660),
        presumes_address_header: trusted_proxies.has_networks() && client_address_header.is_none(),
        trusted_proxies,
        client_address_header: client_address_header.unwrap_or(http::HeaderName::from_static("x-real-ip")),
    }
}

fn parse_address_header(name: String) -> Result<http::HeaderName, &'static str> {
    match name.parse() {
        Ok(http::header::FORWARDED) => Err("cannot be \"forwarded\": name a header that holds addresses alone"),
        Ok(name) => Ok(name),
        Err(_) => Err("must be the name of a header"),
    }
}

pub fn origins(mut section: Section<'_>, errors: &Errors) -> Origins {
    let origins = section.texts("cors_origins").and_then(|list| {
        list.parse(errors, |list| check_origins(list).and_then(|list| Origins::parse(&list).map_err(str::to_owned)))
    });
    section.finish();
    origins.unwrap_or_default()
}

pub fn limits(mut section: Section<'_>) -> Limits {
    let default = Limits::default();
    let mut number = |key, least, most, default: usize| {
        section.number(key, least, most).map_or(default, |found| found.value as usize)
    };
    let header_bytes = number("header_bytes", 8 << 10, 1 << 20, default.header_bytes);
    let headers = number("headers", 16, 1000, default.headers);
    let body_bytes = number("body_bytes", 1 << 10, 64 << 20, default.body_bytes);
    let connections = number("connections", 1, 1_000_000, default.connections);
    let mut span = |key, default: Duration| section.span(key).map_or(default, |found| found.value);
    let header_timeout = span("header_timeout", default.header_timeout);
    let write_timeout = span("write_timeout", default.write_timeout);
    let request_timeout = span("request_timeout", default.request_timeout);
    let drain_timeout = span("drain_timeout", default.drain_timeout);
    let idle_exit = section.span("idle_exit").map(|found| found.value);
    section.finish();
    Limits {
        header_bytes,
        headers,
        body_bytes,
        connections,
        header_timeout,
        write_timeout,
        request_timeout,
        drain_timeout,
        idle_exit,
    }
}
