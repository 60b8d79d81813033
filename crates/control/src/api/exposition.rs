//! The two formats that monitoring reads: OpenMetrics (1.0.0), and Prometheus' own text (0.0.4), which is older and which whoever
//! does not say what they take can read.

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    OpenMetrics,
    Plain,
}

impl Format {
    /// The one that is to be preferred by an `Accept` header (RFC 9110, section 12.5.1).
    pub(super) fn accepted(accept: &str) -> Self {
        let quality = |names: &[&str]| {
            let ranges = accept.split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let name = parts.next()?.to_ascii_lowercase();
                let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |it| it.parse().ok())?;
                names.contains(&name.as_str()).then_some(quality)
            });
            ranges.fold(0.0_f64, f64::max)
        };
        let (open, plain) = (quality(&["application/openmetrics-text"]), quality(&["text/plain", "text/*"]));
        if open > 0.0 && open >= plain { Self::OpenMetrics } else { Self::Plain }
    }

    /// Its name for the `Content-Type` header.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The plain text of an OpenMetrics one: there a counter is described by the name of its samples, and units and the end are not
/// marked.
pub(super) fn plain(open: &str) -> String {
    let mut plain = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(_), text) => help = Some(text.unwrap_or_default()),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let suffix = if kind == "counter" { "_total" } else { "" };
                if let Some(help) = help.take() {
                    plain += &format!("# HELP {name}{suffix} {help}\n");
                }
                plain += &format!("# TYPE {name}{suffix} {kind}\n");
            }
            (Some("#"), ..) => {}
            _ => {
                plain += line;
                plain.push('\n');
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_takes_openmetrics_gets_it_and_everybody_else_plain_text() {
        // What Prometheus 2.42 sends.
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, format) in [
            (prometheus, Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("Application/OpenMetrics-Text; q=0.3 , text/plain;q=0.2", Format::OpenMetrics),
            ("text/plain;version=0.0.4,application/openmetrics-text;q=0.5", Format::Plain),
            ("application/openmetrics-text;q=0", Format::Plain),
            ("*/*", Format::Plain),
            ("text/html", Format::Plain),
            ("", Format::Plain),
            (";;q=,,", Format::Plain),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }

    #[test]
    fn counters_are_described_by_the_names_of_their_samples() {
        let open = "# HELP a_bytes Bytes carried.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\n\
                    a_bytes_total{service=\"# x\"} 7\n# HELP b Of b.\n# TYPE b gauge\nb 1\n# EOF\n";
        assert_eq!(
            plain(open),
            "# HELP a_bytes_total Bytes carried.\n# TYPE a_bytes_total counter\na_bytes_total{service=\"# x\"} 7\n\
             # HELP b Of b.\n# TYPE b gauge\nb 1\n"
        );
    }
}
