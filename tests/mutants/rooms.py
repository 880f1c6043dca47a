"""More faults, by file and by the tests that should notice them."""

from __future__ import annotations

from tests.mutants.driver import Fault


def list_faults(file: str, tests: tuple[str, ...], *changes: tuple[str, str]) -> tuple[Fault, ...]:
    """List faults of one file, each by its old and new text, with the same tests."""
    return tuple(Fault(file, old, new, tests) for old, new in changes)


ROOMS = (
    *list_faults(
        "libs/core/aggregation.py",
        ("tests/unit/core/test_aggregation.py", "tests/property/test_aggregation_laws.py"),
        # No flow at all is READY.
        ("return FlowStatus.NOT_INITIALIZED", "return FlowStatus.READY"),
        # Unnamed statuses come first.
        ("(*named, *unnamed)", "(*unnamed, *named)"),
    ),
    *list_faults(
        "libs/core/backfill.py",
        ("tests/unit/core/test_backfill.py",),
        # Pieces leave out a day.
        ("first = last + timedelta(days=1)", "first = last + timedelta(days=2)"),
        # Any request reads the piece.
        ("(waiting and waiting.covers(piece.start, piece.end))", "waiting"),
        # A quarter ends a month late.
        ("3 * ((day.month + 2) // 3)", "min(12, 3 * ((day.month + 2) // 3) + 1)"),
        # A running piece is done.
        ("if RunStatus.COMPLETED in covering:", "if covering:"),
    ),
    *list_faults(
        "libs/core/lineage.py",
        ("tests/unit/core/test_lineage.py", "tests/property/test_lineage_laws.py"),
        # Descendants contain the start.
        ("return seen - origin", "return seen"),
    ),
    *list_faults(
        "libs/core/differences.py",
        ("tests/unit/core/test_differences.py",),
        # What is new is not told.
        ("*(key for key in after if key not in before)", ""),
    ),
    *list_faults(
        "libs/core/diagnosis.py",
        ("tests/unit/core/test_diagnosis.py",),
        # A time that has passed is told.
        ("found is not None and found > draft.now", "found is not None"),
    ),
    *list_faults(
        "libs/core/plan.py",
        ("tests/unit/core/test_plan.py",),
        # What never published becomes stale.
        ("        if node in lineage.published\n", "        if node not in lineage.published\n"),
        # An interrupted change is unchanged.
        (
            "if not present.complete or (present.unfinished and not changes):",
            "if not present.complete:",
        ),
    ),
    *list_faults(
        "libs/core/reconfiguration.py",
        ("tests/unit/core/test_rewiring.py",),
        # Every flow is reconfigured.
        ("if flow_id in change.changed:", "if True:"),
        # A kept edge is made anew.
        ("kept[known.pop(edge.key)] = edge", "kept[known[edge.key]] = edge"),
    ),
    *list_faults(
        "libs/core/divergence.py",
        ("tests/unit/core/test_differences.py",),
        # An automation that is off is not told.
        ("if seen.present and not seen.enabled:", "if seen.present and seen.enabled:"),
        # A second deployment is not told.
        (
            "elif owner is not None and owner.deployments.get(seen.kind) is not None:",
            "elif owner is not None and owner.deployments.get(seen.kind) is None:",
        ),
        # A deployment of an unsettled instance is unknown.
        ("if seen.instance_id not in world.known:", "if seen.instance_id not in settled:"),
    ),
    *list_faults(
        "libs/core/subscriber_messages.py",
        ("tests/unit/core/test_subscribers.py",),
        # The pause does not grow.
        ("2.0 ** min(failures - 1, 10)", "2.0 ** min(failures - failures, 10)"),
        # A relay that has failed tries at once.
        ("self.retry_at <= now", "self.retry_at >= now"),
    ),
    *list_faults(
        "libs/core/pairing.py",
        ("tests/unit/core/test_pairing.py",),
        # A lease that ends at the sweep ended before it.
        ("lease_until >= swept_at)", "lease_until > swept_at)"),
    ),
    *list_faults(
        "libs/core/gate.py",
        ("tests/unit/core/test_gate.py", "tests/unit/core/test_start.py"),
        # Any upstream with data is READY.
        ("return upstream.generation > 0", "return upstream.generation >= 0"),
        # A passed slot is fresh.
        ("flow.next_due_at > draft.now", "flow.next_due_at < draft.now"),
        # A new instance runs without being asked.
        ("max(flow.consumed_config_version, 1)", "max(flow.consumed_config_version, 0)"),
    ),
    *list_faults(
        "libs/core/gate.py",
        (
            "tests/unit/core/test_requests.py",
            "tests/unit/core/test_start.py",
            "tests/unit/core/test_bad_ends.py",
        ),
        # A request does not shorten a back-off.
        ("not_before=min(same.not_before, earliest)", "not_before=max(same.not_before, earliest)"),
    ),
    *list_faults(
        "libs/core/transitions.py",
        ("tests/unit/core/test_succeed.py", "tests/unit/core/test_source_delayed.py"),
        # Two overtaken runs starve.
        ("STARVED_AFTER = 3", "STARVED_AFTER = 2"),
        # A run without its data serves the slot.
        ("output.serves_slot and not output.source_delayed", "output.serves_slot"),
    ),
    *list_faults(
        "libs/quant/measures.py",
        ("tests/unit/quant/test_measures.py", "tests/unit/quant/test_backtest_rules.py"),
        # Shorts lower the exposure.
        ("np.abs(history.weights).sum(axis=1).max()", "history.weights.sum(axis=1).max()"),
        # The error is of the population.
        ("ddof=1) * math.sqrt", "ddof=0) * math.sqrt"),
    ),
    *list_faults(
        "libs/quant/statistics.py",
        ("tests/unit/quant/test_statistics.py",),
        # Equal values are ordered.
        ("(ends - (counts + 1) / 2)", "(ends - counts)"),
        # Two pairs correlate.
        ("(count >= MIN_PAIRS)", "(count >= MIN_PAIRS - 1)"),
    ),
    *list_faults(
        "libs/quant/significance.py",
        ("tests/unit/quant/test_significance.py",),
        # Skewness helps the error.
        ("1.0 - skewness * sharpe", "1.0 + skewness * sharpe"),
        # Similar trials are luckless.
        ("variance = max(variance, float", "variance = min(variance, float"),
        # Ties overfit.
        ("(outside == chosen).sum(axis=1) + 1) / 2", "(outside == chosen).sum(axis=1) + 1) / 9"),
    ),
    *list_faults(
        "libs/quant/calendar.py",
        (
            "tests/unit/quant/test_backtest.py",
            "tests/unit/services/procedures/test_optimization.py",
        ),
        # The unfinished period counts.
        ("elif end < len(dates):", "elif end <= len(dates):"),
        # A week begins on Sunday.
        ("timedelta(days=first.weekday())", "timedelta(days=first.weekday() + 1)"),
    ),
    *list_faults(
        "libs/quant/sessions.py",
        ("tests/unit/services/procedures/test_optimization.py",),
        # One asset makes a session.
        ("(priced & live).sum(axis=1) * 2 >= count", "(priced & live).sum(axis=1) >= 1"),
    ),
    *list_faults(
        "libs/quant/backtest.py",
        ("tests/unit/quant/test_backtest.py", "tests/unit/quant/test_backtest_rules.py"),
        # A decision is executed at once.
        ("range(decision + 1, following + 1)", "range(decision, following + 1)"),
        # Costs are not paid.
        ("float(delta @ price) + float(cost.sum())", "float(delta @ price)"),
        # An unpriced holding is traded.
        ("wanted = np.where(tradable & (value > 0)", "wanted = np.where((value > 0)"),
        # Sales are cut too.
        ("return np.where(moved > 0, part * moved, moved)", "return part * moved"),
    ),
    *list_faults(
        "libs/quant/prices.py",
        ("tests/unit/quant/test_prices.py",),
        # Zero is a price.
        ("np.isfinite(prices) & (prices > 0.0)", "np.isfinite(prices) & (prices >= 0.0)"),
    ),
    *list_faults(
        "libs/specs/timing/slots.py",
        ("tests/unit/specs/test_schedules_slots.py", "tests/unit/specs/test_schedules.py"),
        # A slot is its own next.
        ("after - INTERVAL_ANCHOR) // step + 1)", "after - INTERVAL_ANCHOR) // step)"),
        # A switched off schedule fires.
        ('schedule.type == "manual" or not schedule.enabled', 'schedule.type == "manual"'),
        # Grace is in seconds.
        ("timedelta(minutes=schedule.grace_minutes)", "timedelta(seconds=schedule.grace_minutes)"),
    ),
    *list_faults(
        "libs/specs/timing/sessions.py",
        ("tests/unit/specs/test_schedules_slots.py", "tests/unit/specs/test_schedules.py"),
        # Sunday is a session in unknown years.
        ("if day.weekday() >= 5:", "if day.weekday() >= 6:"),
    ),
    *list_faults(
        "libs/specs/timing/session_events.py",
        ("tests/unit/specs/test_schedules_slots.py",),
        # A slot follows itself.
        ("moment is not None and moment > after", "moment is not None and moment >= after"),
    ),
    *list_faults(
        "libs/specs/timing/local_time.py",
        ("tests/unit/specs/test_schedules_slots.py", "tests/unit/specs/test_schedules.py"),
        # A time that occurs twice is the second.
        ("local.replace(tzinfo=zone, fold=0)", "local.replace(tzinfo=zone, fold=1)"),
    ),
    *list_faults(
        "libs/specs/instances/optimizers.py",
        ("tests/unit/specs/test_optimizers.py",),
        # Leverage may be below 1.
        (
            "isinstance(gross, int | float) and gross < 1",
            "isinstance(gross, int | float) and gross < 0",
        ),
        # Day 32 is a day.
        ("1 <= int(when) <= 31", "1 <= int(when) <= 32"),
    ),
    *list_faults(
        "libs/specs/reading/names.py",
        (
            "tests/unit/specs/test_manifest.py",
            "tests/unit/specs/test_malformed.py",
            "tests/unit/specs/test_documents.py",
        ),
        # A reference may have three parts.
        ("if len(parts) <= 2 and all", "if len(parts) <= 3 and all"),
    ),
    *list_faults(
        "libs/definitions/content.py",
        ("tests/unit/definitions/test_content.py", "tests/unit/plugins/test_source_inputs.py"),
        # An extract keeps what it replaces.
        ("kept = stored.filter(~_between(since, until))", "kept = stored"),
        # The newest date is later.
        ('frame.filter(pl.col("date") > newest)', 'frame.filter(pl.col("date") >= newest)'),
        # The order of the rows counts.
        ("ordered = conform(later)", "ordered = later"),
    ),
    *list_faults(
        "libs/definitions/continuity.py",
        ("tests/unit/definitions/test_continuity.py",),
        # The limit itself is a loss.
        ("return gone > max_loss * there", "return gone >= max_loss * there"),
    ),
    *list_faults(
        "libs/definitions/guardrails/data.py",
        ("tests/unit/definitions/test_contracts_on_frames.py",),
        # The oldest that may be is too old.
        ("if age > self.config.max_age_days:", "if age >= self.config.max_age_days:"),
        # Missing values are never too many.
        ("missing > asked.max_share_missing * values.height", "missing > values.height"),
        # What was known early passes.
        ('known.dt.date() < pl.col("date")', 'known.dt.date() > pl.col("date")'),
    ),
    *list_faults(
        "libs/definitions/guardrails/portfolio.py",
        ("tests/unit/definitions/test_contracts_on_frames.py",),
        # Short weights have no leverage.
        ('weight.abs().sum().alias("gross")', 'weight.sum().alias("gross")'),
        # A solver's rounding is a breach.
        (
            'highest > high + TOLERANCE:\n            yield Violation(f"a weight',
            'highest > high:\n            yield Violation(f"a weight',
        ),
    ),
    *list_faults(
        "libs/plugins/ops/windows.py",
        (
            "tests/unit/plugins/test_expression.py",
            "tests/unit/plugins/test_ops_digits.py",
            "tests/unit/plugins/test_expression_operators.py",
            "tests/unit/definitions/test_expression_program.py",
        ),
        # REF looks ahead.
        (
            "    def build(self, x: pl.Expr, d: int) -> pl.Expr:\n        return x.shift(d)\n",
            "    def build(self, x: pl.Expr, d: int) -> pl.Expr:\n        return x.shift(-d)\n",
        ),
        # STD is of the population.
        ("rolling_std(d, min_samples=d, ddof=1)", "rolling_std(d, min_samples=d, ddof=0)"),
        # COV divides by n.
        ("covariation(*columns) / (d - 1)", "covariation(*columns) / d"),
    ),
    *list_faults(
        "libs/plugins/ops/sections.py",
        (
            "tests/unit/plugins/test_expression.py",
            "tests/unit/plugins/test_ops_digits.py",
            "tests/unit/plugins/test_expression_operators.py",
            "tests/unit/definitions/test_expression_program.py",
        ),
        # RANK skips equal values.
        ('x.rank("average")', 'x.rank("min")'),
    ),
    *list_faults(
        "libs/plugins/point_in_time.py",
        ("tests/unit/plugins/test_accessors.py",),
        # What is known at the moment is unknown.
        ("frame.filter(known <= asked)", "frame.filter(known < asked)"),
        # The oldest revision wins.
        ("known == known.max().over(KEYS)", "known == known.min().over(KEYS)"),
    ),
    *list_faults(
        "libs/plugins/optimizers.py",
        ("tests/unit/plugins/test_optimizers.py",),
        # Weights without a bound may be short.
        ("0.0 if low is None else low", "-1.0 if low is None else low"),
        # The turnover has no bound.
        ("<= turnover + freed", "<= 9 * turnover + freed"),
    ),
    *list_faults(
        "libs/plugins/delta.py",
        ("tests/unit/plugins/test_delta.py",),
        # A write that is repeated is written twice.
        ("location = self._made_before(table, token, whole)", "location = None"),
    ),
    *list_faults(
        "libs/services/procedures/features.py",
        (
            "tests/unit/services/procedures/test_labels.py",
            "tests/unit/services/procedures/test_panels.py",
        ),
        # A label looks back.
        ("later = level.shift(-horizon)", "later = level.shift(horizon)"),
        # A label may reach into the validation.
        ("pl.col(LABEL_END) < judged[0]", "pl.col(LABEL_END) <= judged[0]"),
        # The embargo is not kept.
        ("len(dates) - held_out - gap)", "len(dates) - held_out)"),
    ),
    *list_faults(
        "libs/services/procedures/panels.py",
        ("tests/unit/services/procedures/test_panels.py",),
        # A missing value is 0.
        ('fill_null(float("nan"))', "fill_null(0.0)"),
    ),
    *list_faults(
        "libs/services/procedures/trials.py",
        ("tests/unit/services/procedures/test_trials.py",),
        # The trial itself does not count.
        ("return Trials(1 + sum(points)", "return Trials(sum(points)"),
        # An annual ratio counts per bar.
        ("return annual / math.sqrt(bars)", "return annual"),
    ),
    *list_faults(
        "libs/services/rendering/links.py",
        ("tests/unit/services/rendering/test_links.py",),
        # All flow runs are without work.
        ("&state={','.join(IdleEnd)}", ""),
    ),
    *list_faults(
        "libs/adapters/prefect/api.py",
        ("tests/unit/adapters/test_prefect_api.py",),
        # An overloaded server refuses.
        ("or status in RETRY_LATER:", "and status in RETRY_LATER:"),
        # Only one page is read.
        ("if len(found) < PAGE:", "if len(found) <= PAGE:"),
    ),
    *list_faults(
        "libs/adapters/prefect/schedules.py",
        ("tests/unit/adapters/test_prefect_schedules.py",),
        # Days of month and week are both meant.
        ('"day_or": not cron.both', '"day_or": cron.both'),
        # A person's own schedule is ours.
        ('slug.startswith(f"{SLUG}-")', "slug.startswith(SLUG)"),
    ),
    *list_faults(
        "libs/settings.py",
        ("tests/unit/test_settings.py",),
        # Heart beats may be as far apart as the lease.
        (
            "self.heartbeat_seconds >= self.lease_seconds",
            "self.heartbeat_seconds > self.lease_seconds",
        ),
        # Links show the password.
        ("if address.credentials:", "if not address.credentials:"),
    ),
    *list_faults(
        "cli/output.py",
        ("tests/unit/cli/test_tables.py", "tests/unit/cli/test_app.py"),
        # An hour has 60 hours.
        ('("h", 3600)', '("h", 60)'),
        # Columns are as wide as their headers.
        ("max(len(row[column]) for row in every)", "len(every[0][column])"),
    ),
    *list_faults(
        "cli/tables.py",
        ("tests/unit/cli/test_tables.py", "tests/unit/cli/test_app.py"),
        # Names of several projects look alike.
        ('for entry in document["instances"]}) > 1', 'for entry in document["instances"]}) > 9'),
    ),
    *list_faults(
        "cli/waiting.py",
        ("tests/unit/cli/test_waiting.py",),
        # Every end is a success.
        ("if run.state is not RunState.COMPLETED:", "if run.state is None:"),
    ),
    *list_faults(
        "cli/runtime/processes.py",
        ("tests/unit/cli/test_runtime.py",),
        # A process of the same number is ours.
        ("return marked == mark(home, record.role)", "return True"),
        # Requests are last words.
        ("if line and not _REQUEST.search(line)", "if line"),
    ),
)
