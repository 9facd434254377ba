//! The picture of `top`.

use super::sample::{Row, View, rate};
use crate::output;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row as TableRow, Table};
use std::time::Duration;

/// A message that has waited so long is shown as something to look at.
const LONG: Duration = Duration::from_secs(60);

/// How it is to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looks {
    /// Colours, unless `NO_COLOR` forbids them.
    pub(crate) colour: bool,
    /// Rows that are above the window.
    pub(crate) skipped: usize,
}

impl Looks {
    fn alarm(self, is: bool) -> Style {
        match (is, self.colour) {
            (false, _) => Style::default(),
            (true, true) => Style::default().fg(Color::Red),
            (true, false) => Style::default().add_modifier(Modifier::BOLD),
        }
    }
}

/// Draws it all.
pub(crate) fn draw(frame: &mut Frame<'_>, path: &str, view: &View, looks: Looks) {
    let [head, table, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(1), Constraint::Length(1)]).areas(frame.area());
    let full = if view.full { "   DISK FULL" } else { "" };
    let title = format!(
        "millpond {path}   disk {}   live {}   in {}/s{full}",
        output::size(view.disk_bytes),
        output::size(view.live_bytes),
        rate(view.came),
    );
    frame.render_widget(Line::styled(title, Style::default().add_modifier(Modifier::BOLD)), head);
    let ready = view.ready_title();
    let titles = ["TOPIC", "GROUP", "IN/S", "DONE/S", "LAG", ready, "RETRYING", "DELAYED", "DEAD", "OLDEST", ""];
    let header = TableRow::new(titles.map(|title| cell(title.to_owned(), title)));
    let rows = view.rows.iter().skip(looks.skipped).map(|row| table_row(row, looks));
    let widths = [16, 14, 7, 7, 9, 12, 8, 9, 6, 12, 7].map(Constraint::Length);
    let header = header.style(Style::default().add_modifier(Modifier::REVERSED));
    frame.render_widget(Table::new(rows, widths).header(header).column_spacing(1), table);
    let foot_text = match &view.trouble {
        Some(trouble) => Line::styled(trouble.clone(), looks.alarm(true)),
        None if view.leases_known => Line::raw("q quits, arrows scroll."),
        None => Line::raw("q quits, arrows scroll. What of it is leased, only the store's owner knows."),
    };
    frame.render_widget(foot_text, foot);
}

fn table_row(row: &Row, looks: Looks) -> TableRow<'static> {
    let long = row.oldest.is_some_and(|oldest| oldest >= LONG);
    let text = |text: &str| output::cut(output::text(text.as_bytes()), 16);
    let plain = |text: String| cell(text, "N");
    TableRow::new([
        cell(text(&row.topic), "TOPIC"),
        cell(row.group.as_deref().map_or_else(|| "-".to_owned(), text), "GROUP"),
        plain(rate(row.came)),
        plain(rate(row.done)),
        plain(row.lag.to_string()),
        plain(row.ready.to_string()),
        plain(row.retrying.to_string()),
        plain(row.delayed.to_string()),
        plain(row.dead.to_string()).style(looks.alarm(row.dead > 0)),
        plain(row.oldest.map_or_else(|| "-".to_owned(), output::span)).style(looks.alarm(long)),
        cell(row.held.unwrap_or_default().to_owned(), "GROUP"),
    ])
}

/// Names stand left, numbers right.
fn cell(text: String, title: &str) -> Cell<'static> {
    let line = Line::raw(text);
    Cell::new(if matches!(title, "TOPIC" | "GROUP" | "") { line } else { line.right_aligned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn view() -> View {
        let orders = Row {
            topic: "orders".to_owned(),
            group: Some("email".to_owned()),
            came: Some(1250.4),
            done: Some(998.0),
            lag: 12_033,
            ready: 12_000,
            retrying: 33,
            dead: 2,
            oldest: Some(Duration::from_secs(94)),
            ..Row::default()
        };
        let audit =
            Row { group: Some("audit".to_owned()), done: Some(0.0), held: Some("paused"), dead: 0, ..orders.clone() };
        let unread = Row { topic: "a topic nobody reads".to_owned(), came: Some(0.25), lag: 7, ..Row::default() };
        View {
            rows: vec![orders, audit, unread],
            came: Some(1250.65),
            disk_bytes: 201_326_592,
            live_bytes: 13_107_200,
            ..View::default()
        }
    }

    fn picture(view: &View, looks: Looks, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(117, height)).unwrap();
        terminal.draw(|frame| draw(frame, "./pond", view, looks)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let lines = buffer.content().chunks(117).map(|line| {
            let text: String = line.iter().map(|cell| cell.symbol()).collect();
            text.trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_picture_is_this() {
        let looks = Looks { colour: false, skipped: 0 };
        assert_eq!(
            picture(&view(), looks, 7),
            "\
millpond ./pond   disk 192.0 MiB   live 12.5 MiB   in 1251/s

TOPIC            GROUP             IN/S  DONE/S       LAG READY/LEASED RETRYING   DELAYED   DEAD       OLDEST
orders           email             1250     998     12033        12000       33         0      2   1 min 34 s
orders           audit             1250     0.0     12033        12000       33         0      0   1 min 34 s paused
a topic nobod... -                  0.2       -         7            0        0         0      0            -
q quits, arrows scroll. What of it is leased, only the store's owner knows."
        );
    }

    #[test]
    fn it_scrolls_says_what_is_wrong_and_has_colours_only_where_they_are_wanted() {
        let trouble = View { trouble: Some("the store can't be read".to_owned()), full: true, ..view() };
        let scrolled = picture(&trouble, Looks { colour: true, skipped: 2 }, 5);
        assert!(scrolled.contains("DISK FULL") && scrolled.ends_with("the store can't be read"), "{scrolled}");
        assert!(scrolled.contains("nobod") && !scrolled.contains("email"), "{scrolled}");
        for colour in [true, false] {
            let mut terminal = Terminal::new(TestBackend::new(116, 7)).unwrap();
            terminal.draw(|frame| draw(frame, "./pond", &view(), Looks { colour, skipped: 0 })).unwrap();
            let red = terminal.backend().buffer().content().iter().any(|cell| cell.fg == Color::Red);
            assert_eq!(red, colour);
        }
    }
}
