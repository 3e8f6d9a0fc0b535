//! What a browser may run of a file that it shows: nothing.
//!
//! Files come from people whom the owner of the host need not trust. A page, a drawing in SVG or a document in XML may
//! hold scripts, which would run in the name of the host. So every file is sent with [`POLICY`], but for those that
//! browsers only draw or play: a sandbox keeps their players and PDF viewers from reading them. What is unknown counts as
//! something that runs.

/// The `Content-Security-Policy` of a file (CSP Level 3): an origin of its own, no scripts, forms or pop-ups, and nothing
/// is loaded. Its own styles and embedded pictures stay, so that a page or a drawing looks as it should.
pub const POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// Endings of names that every edge takes for a picture, a film, a sound or a PDF.
const INERT_ENDINGS: &[&str] = &[
    "aac", "avi", "avif", "bmp", "flac", "gif", "heic", "ico", "jpeg", "jpg", "m4a", "m4v", "mkv", "mov", "mp3", "mp4",
    "oga", "ogg", "ogv", "opus", "pdf", "png", "tif", "tiff", "wav", "webm", "webp",
];

/// Whether a file needs the policy: by its media type where the link names one, else by its name's ending, from which the
/// edge derives the type.
pub fn is_needed(media_type: Option<&str>, name: &str) -> bool {
    !media_type.map_or_else(|| has_inert_ending(name), is_inert)
}

/// Whether browsers draw or play a type and run nothing of it. A `+` marks another format below, such as XML.
fn is_inert(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim_end();
    let Some((kind, subtype)) = essence.split_once('/') else { return false };
    let is_plain = subtype.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    let is_media = ["image", "audio", "video"].iter().any(|media| kind.eq_ignore_ascii_case(media));
    (is_media && is_plain) || essence.eq_ignore_ascii_case("application/pdf")
}

fn has_inert_ending(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    INERT_ENDINGS.iter().any(|inert| inert.eq_ignore_ascii_case(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_drawn_or_played_goes_without_the_policy() {
        for inert in [
            "image/png",
            "IMAGE/JPEG",
            "image/vnd.microsoft.icon",
            "audio/ogg; codecs=opus",
            "video/mp4",
            "application/pdf",
            "Application/PDF ;x=y",
        ] {
            assert!(!is_needed(Some(inert), "page.html"), "{inert}");
        }
        for active in [
            "text/html",
            "TEXT/HTML;charset=utf-8",
            "image/svg+xml",
            "image/SVG+XML",
            "image/anything+xml",
            "video/page+html",
            "application/xhtml+xml",
            "application/xml",
            "text/xml",
            "text/xsl",
            "text/plain",
            "text/javascript",
            "application/pdf+xml",
            "application/pdf-like",
            "application/octet-stream",
            "application/x-mimearchive",
            "multipart/related",
            "multipart/x-mixed-replace",
            "message/rfc822",
            "imagex/png",
            "image",
            "image/png,text/html",
            "",
        ] {
            assert!(is_needed(Some(active), "picture.png"), "{active}");
        }
    }

    #[test]
    fn a_link_without_a_type_goes_by_the_name() {
        for inert in ["a.png", "A.JPG", "x.y.webm", "report.pdf", ".png"] {
            assert!(!is_needed(None, inert), "{inert}");
        }
        for active in
            ["a.html", "a.svg", "a.SVGZ", "a.xhtml", "a.xml", "a.xsl", "a.mht", "a", "", "png", "a.png.htm", "a."]
        {
            assert!(is_needed(None, active), "{active}");
        }
    }
}
