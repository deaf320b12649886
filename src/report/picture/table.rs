//! Tables with box drawing.

use super::Line;

/// A table: the head, a rule, the rows, each with what it is about; all cells of a column are as wide
/// as its widest.
pub fn table(head: &[String], rows: &[(String, Vec<String>)]) -> Vec<Line> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|(_, row)| row.get(column)).chain(head.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let rule = |left: &str, middle: &str, right: &str| {
        let bars: Vec<_> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
        format!("{left}{}{right}", bars.join(middle))
    };
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} "));
        format!("│{}│", padded.collect::<Vec<_>>().join("│"))
    };
    let mut lines: Vec<_> =
        [rule("┌", "┬", "┐"), line(head), rule("├", "┼", "┤")].map(Line::frame).into();
    lines.extend(rows.iter().map(|(key, row)| Line::new(key, row.join(" "), line(row))));
    lines.push(Line::frame(rule("└", "┴", "┘")));
    lines
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let cells = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let lines = table(&cells(["", "upper"]), &[("etc".into(), cells(["etc/", "dir"]))]);
        let texts: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "┌──────┬───────┐",
                "│      │ upper │",
                "├──────┼───────┤",
                "│ etc/ │ dir   │",
                "└──────┴───────┘"
            ]
        );
    }
}
