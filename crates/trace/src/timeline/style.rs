//! Colours, marks, the legend, and text that is safe in XML.

use std::fmt::{self, Write};
use wasmtime::preempt::Traced;

/// The threads' colours. Each has a contrast of 3 or more with both papers.
pub const COLOURS: [&str; 8] = [
    "#3b7dd8", "#c9661c", "#2a9156", "#9a5fd0", "#d64550", "#1c8a98", "#a0703a", "#c8509b",
];

/// Writes the style sheet, and the hatching for parked threads.
pub fn write(to: &mut dyn Write) -> fmt::Result {
    // No CSS variables: converters from pictures to documents do not know them.
    writeln!(
        to,
        "<style>\n\
         .preempt-timeline text{{font:12px system-ui,sans-serif;fill:#24292f}}\n\
         .preempt-timeline .head{{font-size:16px;font-weight:600}}\n\
         .preempt-timeline .name{{text-anchor:end}}\n\
         .preempt-timeline .tick{{text-anchor:middle;font-size:11px}}\n\
         .preempt-timeline path{{fill:none;stroke-width:14}}\n\
         .preempt-timeline .paper{{fill:#fff}}\n\
         .preempt-timeline .grid{{stroke:#d0d7de;stroke-width:1}}\n\
         .preempt-timeline .run{{stroke:#6e7781;stroke-width:5}}\n\
         .preempt-timeline .ready{{stroke-opacity:.2}}\n\
         .preempt-timeline .q1{{stroke-opacity:.3}}\n\
         .preempt-timeline .q2{{stroke-opacity:.5}}\n\
         .preempt-timeline .q3{{stroke-opacity:.75}}\n\
         .preempt-timeline .parked{{stroke:url(#preempt-hatch)}}\n\
         .preempt-timeline .hatch{{stroke:#8c959f;stroke-width:1.5}}\n\
         .preempt-timeline .mark{{stroke:#24292f;stroke-width:2;fill:#fff}}\n\
         .preempt-timeline .lc{{stroke:#6e7781}}"
    )?;
    for (place, colour) in COLOURS.iter().enumerate() {
        writeln!(to, ".preempt-timeline .c{place}{{stroke:{colour}}}")?;
    }
    writeln!(
        to,
        ".preempt-timeline text{{stroke:none}}\n\
         @media (prefers-color-scheme:dark){{\n\
         .preempt-timeline text{{fill:#e6edf3}}\n\
         .preempt-timeline .paper{{fill:#0d1117}}\n\
         .preempt-timeline .grid{{stroke:#30363d}}\n\
         .preempt-timeline .ready{{stroke-opacity:.3}}\n\
         .preempt-timeline .mark{{stroke:#e6edf3;fill:#0d1117}}\n\
         }}\n\
         </style>\n\
         <defs><pattern id=\"preempt-hatch\" width=\"5\" height=\"5\" \
         patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
         <path class=\"hatch\" d=\"M2.5 0v5\"/></pattern></defs>"
    )
}

/// Writes the legend, starting at `x` at the height `y`.
pub fn legend(to: &mut dyn Write, x: usize, y: usize) -> fmt::Result {
    writeln!(to, "<g class=\"lc\">")?;
    let bars = [
        ("q4", "on the CPU", 112),
        ("ready", "ready", 80),
        ("parked", "parked", 96),
    ];
    let mut x = x;
    for (class, what, width) in bars {
        writeln!(
            to,
            "<path class=\"{class}\" d=\"M{x} {y}h24\"/><text x=\"{}\" y=\"{}\">{what}</text>",
            x + 30,
            y + 4
        )?;
        x += width;
    }
    let marks = [
        (Traced::Returned, "returned"),
        (Traced::Trapped, "trapped"),
        (Traced::Killed, "killed"),
        (Traced::OverLimit, "over limit"),
    ];
    for (how, what) in marks {
        mark(to, x as f64 + 6.0, y, how)?;
        writeln!(to, "<text x=\"{}\" y=\"{}\">{what}</text>", x + 18, y + 4)?;
        x += 84;
    }
    writeln!(to, "</g>")
}

/// Draws how a thread finished: a circle if it returned, a cross if it trapped, a
/// square if it was killed, a diamond if it went over its limit.
pub fn mark(to: &mut dyn Write, x: f64, y: usize, how: Traced) -> fmt::Result {
    write!(to, "<path class=\"mark\" d=\"M{x:.1} {y}")?;
    to.write_str(match how {
        Traced::Returned => "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
        Traced::Trapped => "m-4-4l8 8m0-8l-8 8",
        Traced::Killed => "m-4-4h8v8h-8z",
        _ => "m0-5l5 5l-5 5l-5-5z",
    })?;
    writeln!(to, "\"/>")
}

/// Text made safe for XML: special characters are escaped, and characters that XML
/// cannot hold are replaced.
pub struct Text<'a>(pub &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '<' => f.write_str("&lt;"),
                '>' => f.write_str("&gt;"),
                '&' => f.write_str("&amp;"),
                '"' => f.write_str("&quot;"),
                '\t' | '\n' | '\r' => f.write_char(' '),
                '\0'..'\u{20}' | '\u{fffe}' | '\u{ffff}' => f.write_char('\u{fffd}'),
                _ => f.write_char(c),
            }?;
        }
        Ok(())
    }
}
