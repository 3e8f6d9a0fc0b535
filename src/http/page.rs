//! A refusal for people: one small page without scripts, pictures or names.

use http::StatusCode;

/// What the page may load: nothing but its own style.
pub const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page for a status.
pub fn refusal(status: StatusCode, title: &str) -> String {
    let advice = match status {
        StatusCode::GONE => "Ask whoever gave it to you for a new one.",
        StatusCode::SERVICE_UNAVAILABLE => "Please try again in a moment.",
        StatusCode::FORBIDDEN => "Check that the whole address was copied, or ask for a new link.",
        _ => "Please check the address.",
    };
    let code = status.as_u16();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n<style>\n\
         :root {{ color-scheme: light dark }}\n\
         body {{ font: 1.125rem/1.6 system-ui, sans-serif; display: grid; place-content: center; min-height: 90vh; \
         margin: 0 auto; max-width: 32rem; padding: 1rem; text-align: center }}\n\
         h1 {{ font-size: 1.5rem; margin: 0 }}\np {{ margin: .5rem 0 0; opacity: .75 }}\n\
         </style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n<p>{advice}</p>\n<p><small>{code}</small></p>\n\
         </main>\n</body>\n</html>\n"
    )
}
