//! A plan in words. Pure.

use chronik_core::restart::Reason;
use chronik_core::rollout::Wait;

use super::{Outcome, Plan, Planned};
use crate::show::{Cell, Paint, Shown, Table, Tone, permit_text, seconds};

impl Shown for Plan {
    fn text(&self, paint: Paint) -> String {
        let mut text = format!("{}\n", self.headline());
        for (index, waits_for) in self.waits_for.iter().enumerate() {
            text += &format!("{} {waits_for}\n", if index == 0 { "waits for" } else { "then for " });
        }
        for permit in &self.permits {
            text += &format!("permit    {}\n", permit_text(permit));
        }
        if self.brokers.is_empty() {
            return text;
        }
        text += &format!("\n{}", self.table(paint));
        let refused: Vec<&Planned> = self.brokers.iter().filter(|broker| !broker.now.may_stop).collect();
        if !refused.is_empty() {
            text += "\nThe brokers' answer now:\n";
        }
        for broker in refused {
            text += &format!("  broker {} may not stop: {}\n", broker.broker, broker.now.why());
        }
        format!("{text}\n{}", self.ending(paint))
    }
}

impl Plan {
    fn headline(&self) -> String {
        let outdated = match self.outdated.len() {
            0 => "nothing is outdated".to_owned(),
            count => format!("{count} of {} pods outdated", self.pods),
        };
        let about = match (self.all, self.brokers.is_empty()) {
            (true, _) => "; a restart of every broker:",
            (false, true) if self.outdated.is_empty() => "; with --all, a restart of every broker is planned",
            (false, _) => "",
        };
        format!("{} (namespace {}): {outdated}{about}", self.cluster, self.namespace)
    }

    fn table(&self, paint: Paint) -> String {
        let mut table =
            Table::new(["ORDER", "BROKER", "POD", "WHY", "OUTCOME", "MAY STOP NOW", "BEHIND", "TAKES"]);
        for (broker, order) in self.brokers.iter().zip(1..) {
            let restarts = broker.outcome == Outcome::Restarts;
            table.row([
                if restarts { order.to_string().into() } else { "".into() },
                broker.broker.into(),
                broker.pod.as_str().into(),
                if broker.reason == Reason::Asked { "asked for" } else { self.why_rollout() }.into(),
                outcome(broker),
                Cell::unless(broker.now.may_stop, Tone::Warn, if broker.now.may_stop { "yes" } else { "no" }),
                behind(broker).into(),
                broker.estimated_seconds.map_or(String::new(), |takes| format!("~{}", seconds(takes))).into(),
            ]);
        }
        table.text(paint)
    }

    fn why_rollout(&self) -> &'static str {
        if self.all { "--all" } else { "outdated" }
    }

    fn ending(&self, paint: Paint) -> String {
        let restarts = self.brokers.iter().filter(|broker| broker.outcome == Outcome::Restarts).count();
        let early = self.ends_early.as_ref();
        let early = early
            .map_or(String::new(), |early| paint.tint(Tone::Bad, &format!("Ends early: {early}")) + "\n");
        let all = match (&self.lately, self.estimated_seconds) {
            (Some(lately), Some(all)) => {
                let took = match lately.restarts {
                    1 => "the last one took".to_owned(),
                    count => format!("the last {count} took, in the middle,"),
                };
                let (all, each) = (seconds(all), seconds(lately.seconds));
                format!("{restarts} to restart, about {all} in all: {took} {each} until back in every ISR.\n")
            }
            _ if restarts == 0 => "None restarts.\n".to_owned(),
            _ => format!("{restarts} to restart. How long it takes is not known: no restart seen yet.\n"),
        };
        early + &all
    }
}

fn outcome(broker: &Planned) -> Cell {
    match (broker.outcome, broker.after) {
        (Outcome::Restarts, None) => Cell::new("restarts", Tone::Good),
        (Outcome::Restarts, Some(back)) => Cell::new(format!("restarts once {back} is back"), Tone::Good),
        (Outcome::Blocked, _) => Cell::new("blocked", Tone::Bad),
        (Outcome::Held, _) => Cell::new("waits", Tone::Bad),
    }
}

fn behind(broker: &Planned) -> String {
    match (broker.lag.records, broker.lag.ms) {
        (0, _) => String::new(),
        (records, ms) => format!("{records} records, {}", seconds(ms as f64 / 1000.0)),
    }
}

/// What is waited for.
pub(super) fn wait(wait: &Wait) -> String {
    match wait {
        Wait::Paused => "a person: spec.rollout.paused is set".to_owned(),
        Wait::Approval(broker) => format!(
            "a person's approval, for broker {broker} next: spec.rollout.approval is Manual (kubectl chronik restart {broker})"
        ),
        Wait::HeldBack => "a person: spec.rollout.fromBroker holds the lower brokers back".to_owned(),
        Wait::Settling(broker) => {
            format!("broker {broker}, which has not been ready for spec.rollout.minReadySeconds")
        }
        Wait::Overdue(broker, permit) => {
            format!("broker {broker}, which has not returned in time (permit {})", permit.0)
        }
        Wait::Report | Wait::Permits => "the brokers' word".to_owned(),
        Wait::Template => "Kubernetes, which has not taken the spec's pod template yet".to_owned(),
        Wait::Stopping(broker) => format!("broker {broker}, whose pod is being deleted"),
        Wait::Returning(broker, permit) => {
            format!("broker {broker}, which restarts (permit {})", permit.0)
        }
        Wait::Lapsing(broker, permit) => {
            format!("the end of permit {} of broker {broker}, which nobody needs any more", permit.0)
        }
        Wait::OtherStop(broker, permit, reason) => {
            format!("broker {broker}, which stops {} (permit {})", reason.purpose(), permit.0)
        }
        Wait::NotUp(broker) => format!("broker {broker}, which has the spec's settings and is not up"),
        Wait::Refused => "the brokers, which refuse every broker that could be next".to_owned(),
    }
}
