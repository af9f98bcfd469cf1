//! Tables: aligned columns without borders, as kubectl prints them. Pure.

use super::{Paint, Tone};

/// Space between two columns.
const GAP: &str = "   ";

/// One cell.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// In a colour.
    pub fn new(text: impl ToString, tone: Tone) -> Self {
        Self { text: text.to_string(), tone }
    }

    /// In a colour if it is not as it should be.
    pub fn unless(well: bool, tone: Tone, text: impl ToString) -> Self {
        Self::new(text, if well { Tone::Plain } else { tone })
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// Rows under a head.
pub(crate) struct Table<const COLUMNS: usize> {
    head: [&'static str; COLUMNS],
    rows: Vec<[Cell; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// Without rows.
    pub fn new(head: [&'static str; COLUMNS]) -> Self {
        Self { head, rows: Vec::new() }
    }

    /// With one more row.
    pub fn row(&mut self, cells: [Cell; COLUMNS]) {
        self.rows.push(cells);
    }

    /// As text, each line ended; a column is as wide as its widest cell.
    pub fn text(&self, paint: Paint) -> String {
        let width = |text: &str| text.chars().count();
        let widest = |column: usize| {
            let cells = self.rows.iter().map(|row| width(&row[column].text));
            cells.chain([width(self.head[column])]).max().unwrap_or(0)
        };
        let widths: [usize; COLUMNS] = std::array::from_fn(widest);
        let head = self.head.map(|title| Cell::new(title, Tone::Head));
        let mut text = String::new();
        for row in std::iter::once(&head).chain(&self.rows) {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let (shown, tone) =
                    if cell.text.is_empty() { ("-", Tone::Plain) } else { (&*cell.text, cell.tone) };
                line += &paint.tint(tone, shown);
                if column + 1 < COLUMNS {
                    line += &" ".repeat(widths[column].saturating_sub(width(shown)));
                    line += GAP;
                }
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<3> {
        let mut table = Table::new(["BROKER", "ISR", "STATE"]);
        table.row(["1".into(), "[1, 2, 3]".into(), Cell::new("ok", Tone::Good)]);
        table.row(["12".into(), "".into(), Cell::new("", Tone::Bad)]);
        table
    }

    #[test]
    fn columns_stand_below_each_other_and_nothing_is_shown_as_a_dash() {
        let text = table().text(Paint(false));
        assert_eq!(text, "BROKER   ISR         STATE\n1        [1, 2, 3]   ok\n12       -           -\n");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let text = table().text(Paint(true));
        assert!(
            text.contains("1        [1, 2, 3]   \x1b[32mok\x1b[0m\n12       -           -\n"),
            "{text:?}"
        );
    }
}
