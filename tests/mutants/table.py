"""The faults: file, old text, new text, tests. They stand in every room of the product."""

from __future__ import annotations

from tests.mutants.driver import Fault

FAULTS = (
    Fault(
        "libs/core/records.py",
        "self.as_of is not None or self.end is not None",
        "self.as_of is not None and self.end is not None",
        ("tests/unit/core/test_parameters.py",),
    ),
    Fault(
        "libs/core/records.py",
        "if self.as_of is not None and self.as_of < end:",
        "if self.as_of is not None and self.as_of <= end:",
        ("tests/unit/core/test_parameters.py",),
    ),
    Fault(
        "libs/core/records.py",
        "recursive=self.recursive or newer.recursive",
        "recursive=newer.recursive",
        ("tests/property/test_gate_laws.py", "-k", "merge"),
    ),
    Fault(
        "libs/core/pairing.py",
        "now - swept_at > 2 * usual",
        "now - swept_at > 9 * usual",
        ("tests/unit/core/test_pairing.py",),
    ),
    Fault(
        "libs/core/pairing.py",
        "or lease_until >= now",
        "or lease_until <= now",
        ("tests/unit/core/test_pairing.py",),
    ),
    Fault(
        "libs/core/requests.py",
        "not_before=min(pending.not_before, request.not_before)",
        "not_before=max(pending.not_before, request.not_before)",
        ("tests/unit/core/test_request_merging.py",),
    ),
    Fault(
        "libs/core/requests.py",
        "retries=min(pending.retries, request.retries)",
        "retries=max(pending.retries, request.retries)",
        ("tests/unit/core/test_request_merging.py",),
    ),
    Fault(
        "libs/core/reconfiguration.py",
        "deadline is not None and deadline < draft.now",
        "deadline is not None",
        (
            "tests/unit/core/test_changes.py",
            "tests/unit/core/test_source_delayed.py",
        ),
    ),
    Fault(
        "libs/core/differences.py",
        "or isinstance(before, bool) != isinstance(after, bool)",
        "",
        ("tests/unit/core/test_differences.py",),
    ),
    Fault(
        "libs/core/differences.py",
        "range(max(len(before), len(after)))",
        "range(min(len(before), len(after)))",
        ("tests/unit/core/test_differences.py",),
    ),
    Fault(
        "libs/core/diagnosis.py",
        "if flow.status is FlowStatus.RUNNING or not draft.is_active(flow):",
        "if flow.status is FlowStatus.RUNNING:",
        ("tests/unit/core/test_diagnosis.py",),
    ),
    Fault(
        "libs/core/diagnosis.py",
        "return min(times)",
        "return max(times)",
        ("tests/unit/core/test_diagnosis.py",),
    ),
    Fault(
        "libs/core/gate.py",
        "return edge.triggers or edge.require is not Require.NONE",
        "return edge.triggers",
        (
            "tests/unit/core/test_gate.py",
            "tests/unit/core/test_start.py",
        ),
    ),
    Fault(
        "libs/core/gate.py",
        "has_newer_configuration(draft, flow_id) or has_newer_inputs(draft, flow_id)",
        "has_newer_inputs(draft, flow_id)",
        (
            "tests/unit/core/test_gate.py",
            "tests/unit/core/test_changes.py",
        ),
    ),
    Fault(
        "libs/core/gate.py",
        "edge.triggers and draft.flows[edge.upstream].generation > edge.consumed",
        "draft.flows[edge.upstream].generation > edge.consumed",
        (
            "tests/unit/core/test_gate.py",
            "tests/unit/core/test_succeed.py",
        ),
    ),
    Fault(
        "libs/core/gate.py",
        "opening.not_before <= max(request.not_before, draft.now)",
        "opening.not_before <= draft.now",
        (
            "tests/unit/core/test_gate.py",
            "tests/unit/core/test_requests.py",
            "tests/unit/core/test_start.py",
        ),
    ),
    Fault(
        "libs/core/gate.py",
        "attempt=opening.attempt + 1",
        "attempt=opening.attempt",
        (
            "tests/unit/core/test_gate.py",
            "tests/unit/core/test_bad_ends.py",
            "tests/unit/core/test_start.py",
        ),
    ),
    Fault(
        "libs/core/starting.py",
        "if draft.pending_request(flow.id) is None and not gate.due_by_input(draft, flow.id):",
        "if draft.pending_request(flow.id) is None:",
        ("tests/unit/core/test_start.py",),
    ),
    Fault(
        "libs/core/transitions.py",
        "opening.crashes < policy.crashed",
        "opening.crashes <= policy.crashed",
        ("tests/unit/core/test_bad_ends.py",),
    ),
    Fault(
        "libs/core/transitions.py",
        "run.retries >= policy.failed or",
        "run.retries > policy.failed or",
        ("tests/unit/core/test_bad_ends.py",),
    ),
    Fault(
        "libs/core/transitions.py",
        "generation=flow.generation + 1",
        "generation=flow.generation + 2",
        ("tests/unit/core/test_succeed.py",),
    ),
    Fault(
        "libs/core/transitions.py",
        "last_data_date=output.last_data_date or flow.last_data_date",
        "last_data_date=output.last_data_date",
        ("tests/unit/core/test_succeed.py",),
    ),
    Fault(
        "libs/core/backfill.py",
        "while first <= end:",
        "while first < end:",
        ("tests/unit/core/test_backfill.py",),
    ),
    Fault(
        "libs/core/backfill.py",
        "day.toordinal() + 6 - day.weekday()",
        "day.toordinal() + 7 - day.weekday()",
        ("tests/unit/core/test_backfill.py",),
    ),
    Fault(
        "libs/core/lineage.py",
        "depth[node] = 1 + max(",
        "depth[node] = 1 + min(",
        ("tests/unit/core/test_lineage.py",),
    ),
    Fault(
        "libs/core/plan.py",
        "if project.lower() not in present",
        "if project not in present",
        ("tests/unit/core/test_plan.py",),
    ),
    Fault(
        "libs/core/plan.py",
        "present.contents.get(kind) != content",
        "present.contents.get(kind) == content",
        ("tests/unit/core/test_plan.py",),
    ),
    Fault(
        "libs/core/recursion.py",
        "if not (edge.triggers or (runs and gate.reads(edge))):",
        "if not edge.triggers:",
        ("tests/unit/core/test_recursion.py",),
    ),
    Fault(
        "libs/core/recursion.py",
        "if not gate.is_fresh(draft, ancestor)",
        "if gate.is_fresh(draft, ancestor)",
        ("tests/unit/core/test_recursion.py",),
    ),
    Fault(
        "libs/core/aggregation.py",
        "if listed[-1] != FlowStatus.READY:",
        "if FlowStatus.READY not in listed:",
        ("tests/unit/core/test_aggregation.py",),
    ),
    Fault(
        "libs/core/subscriber_messages.py",
        "failing_since=self.failing_since or now",
        "failing_since=now",
        ("tests/unit/core/test_subscribers.py",),
    ),
    Fault(
        "libs/core/unit_of_work.py",
        "overdue = max(0.0,",
        "overdue = max(1.0,",
        (
            "tests/unit/core/test_events.py",
            "tests/unit/core/test_source_delayed.py",
            "tests/unit/core/test_start.py",
        ),
    ),
    Fault(
        "libs/quant/statistics.py",
        "known.std(ddof=1)",
        "known.std(ddof=0)",
        ("tests/unit/quant/test_statistics.py",),
    ),
    Fault(
        "libs/quant/statistics.py",
        "if horizon < len(prices):",
        "if horizon < len(prices) - 1:",
        ("tests/unit/quant/test_statistics.py",),
    ),
    Fault(
        "libs/quant/statistics.py",
        "(standard**4).mean() - 3.0",
        "(standard**4).mean()",
        ("tests/unit/quant/test_statistics.py",),
    ),
    Fault(
        "libs/quant/significance.py",
        "returns.std(ddof=1)",
        "returns.std(ddof=0)",
        ("tests/unit/quant/test_significance.py",),
    ),
    Fault(
        "libs/quant/significance.py",
        "variance = max(variance, float(known.var(ddof=1)))",
        "variance = float(known.var(ddof=1))",
        ("tests/unit/quant/test_significance.py",),
    ),
    Fault(
        "libs/quant/significance.py",
        "(kurtosis - 1.0) / 4.0",
        "(kurtosis - 3.0) / 4.0",
        ("tests/unit/quant/test_significance.py",),
    ),
    Fault(
        "libs/quant/measures.py",
        "returns[returns != 0]",
        "returns",
        (
            "tests/unit/quant/test_backtest.py",
            "tests/unit/quant/test_backtest_rules.py",
        ),
    ),
    Fault(
        "libs/quant/measures.py",
        "return traded / 2 /",
        "return traded /",
        (
            "tests/unit/quant/test_backtest.py",
            "tests/unit/quant/test_backtest_rules.py",
        ),
    ),
    Fault(
        "libs/quant/measures.py",
        "np.std(returns - market, ddof=1)",
        "np.std(returns, ddof=1)",
        (
            "tests/unit/quant/test_backtest.py",
            "tests/unit/quant/test_backtest_rules.py",
        ),
    ),
    Fault(
        "libs/quant/calendar.py",
        "dates[i] >= wanted]",
        "dates[i] > wanted]",
        (
            "tests/unit/quant/test_backtest_rules.py",
            "tests/unit/quant/test_backtest.py",
            "tests/unit/services/procedures/test_optimization.py",
        ),
    ),
    Fault(
        "libs/quant/calendar.py",
        "chosen.add(end - 1)",
        "chosen.add(end)",
        (
            "tests/unit/quant/test_backtest_rules.py",
            "tests/unit/quant/test_backtest.py",
            "tests/unit/services/procedures/test_optimization.py",
        ),
    ),
    Fault(
        "libs/quant/sessions.py",
        "newest <= patience",
        "newest < patience",
        (
            "tests/unit/quant/test_prices.py",
            "tests/unit/services/procedures/test_optimization.py",
            "tests/unit/services/procedures/test_panels.py",
        ),
    ),
    Fault(
        "libs/quant/sessions.py",
        ".sum(axis=1) * 2 >= count",
        ".sum(axis=1) * 2 > count",
        (
            "tests/unit/quant/test_prices.py",
            "tests/unit/services/procedures/test_optimization.py",
            "tests/unit/services/procedures/test_panels.py",
        ),
    ),
    Fault(
        "libs/quant/tear_sheet.py",
        "if known.sum() >= quantiles:",
        "if known.sum() > quantiles:",
        ("tests/unit/quant/test_tear_sheet.py",),
    ),
    Fault(
        "libs/plugins/ops/windows.py",
        "math.log(1 - 2 / (d + 1))",
        "math.log(1 - 1 / (d + 1))",
        (
            "tests/unit/plugins/test_expression_operators.py",
            "tests/unit/definitions/test_expression_program.py",
            "tests/unit/plugins/test_ops_digits.py",
        ),
    ),
    Fault(
        "libs/plugins/ops/windows.py",
        "x.ewm_mean(span=d, adjust=False,",
        "x.ewm_mean(span=d, adjust=True,",
        (
            "tests/unit/plugins/test_expression_operators.py",
            "tests/unit/plugins/test_ops_digits.py",
        ),
    ),
    Fault(
        "libs/plugins/ops/sections.py",
        "(x - x.mean()) / x.std(ddof=1)",
        "(x - x.mean()) / x.std(ddof=0)",
        (
            "tests/unit/plugins/test_expression_operators.py",
            "tests/unit/plugins/test_ops_digits.py",
        ),
    ),
    Fault(
        "libs/plugins/market_data.py",
        "if hours is None or hours[1] > now:",
        "if hours is None or hours[0] > now:",
        ("tests/unit/plugins/test_market_data.py",),
    ),
    Fault(
        "libs/plugins/snapshot.py",
        "if pinned < self.config.at:",
        "if pinned <= self.config.at:",
        ("tests/unit/plugins/test_accessors.py",),
    ),
    Fault(
        "libs/plugins/cells.py",
        'self.decimal == "." and not self.thousands',
        'self.decimal == "."',
        ("tests/unit/plugins/test_file.py",),
    ),
    Fault(
        "libs/plugins/file.py",
        "if self.decimal == self.thousands:",
        "if False:",
        ("tests/unit/plugins/test_file.py",),
    ),
    Fault(
        "libs/definitions/content.py",
        'filter(pl.col("date") <= until)',
        'filter(pl.col("date") < until)',
        ("tests/unit/definitions/test_content.py",),
    ),
    Fault(
        "libs/definitions/widening.py",
        "_INTEGERS.index(old) <= _INTEGERS.index(new)",
        "_INTEGERS.index(old) >= _INTEGERS.index(new)",
        (
            "tests/unit/definitions/test_continuity.py",
            "tests/unit/definitions/test_content.py",
        ),
    ),
    Fault(
        "libs/definitions/op.py",
        "max((window - 1 for window in windows), default=0)",
        "max((window for window in windows), default=0)",
        (
            "tests/unit/definitions/test_expression_program.py",
            "tests/unit/plugins/test_expression_operators.py",
        ),
    ),
    Fault(
        "libs/definitions/store.py",
        'or ".." in relative.parts',
        "",
        ("tests/unit/definitions/test_store.py",),
    ),
    Fault(
        "libs/specs/timing/slots.py",
        "if slot > now:",
        "if slot >= now:",
        (
            "tests/unit/specs/test_schedules.py",
            "tests/unit/specs/test_schedules_slots.py",
        ),
    ),
    Fault(
        "libs/specs/timing/session_events.py",
        '-1 if form[2] == "-" else 1',
        '1 if form[2] == "-" else 1',
        (
            "tests/unit/specs/test_schedules_slots.py",
            "tests/unit/specs/test_schedules.py",
        ),
    ),
    Fault(
        "libs/specs/timing/frequencies.py",
        "(day.month - 1) // 3",
        "day.month // 3",
        ("tests/unit/specs/test_frequencies.py",),
    ),
    Fault(
        "libs/specs/timing/native.py",
        "last = max(*days, _WEEK)",
        "last = max(days)",
        ("tests/unit/adapters/test_schedules_native.py",),
    ),
    Fault(
        "libs/specs/instances/signals.py",
        "and neutral < low:",
        "and neutral > low:",
        (
            "tests/unit/specs/test_documents.py",
            "tests/unit/specs/test_malformed.py",
            "tests/unit/specs/test_manifest.py",
        ),
    ),
    Fault(
        "libs/specs/instances/optimizers.py",
        "isinstance(gross, int | float) and gross < 1:",
        "isinstance(gross, int | float) and gross < 0:",
        (
            "tests/unit/specs/test_malformed.py",
            "tests/unit/specs/test_documents.py",
            "tests/unit/services/procedures/test_optimization.py",
            "tests/unit/specs/test_backtests.py",
        ),
    ),
    Fault(
        "libs/specs/reading/names.py",
        "if len(parts) <= 2 and",
        "if",
        (
            "tests/unit/specs/test_documents.py",
            "tests/unit/specs/test_manifest.py",
            "tests/unit/specs/test_malformed.py",
        ),
    ),
    Fault(
        "libs/services/procedures/hindsight.py",
        'pl.col("date") < pl.col("made")',
        'pl.col("date") <= pl.col("made")',
        ("tests/unit/services/procedures/test_hindsight.py",),
    ),
    Fault(
        "libs/services/procedures/panels.py",
        "asked - own[rows] <= max_age_days",
        "asked - own[rows] < max_age_days",
        (
            "tests/unit/services/procedures/test_panels.py",
            "tests/unit/services/procedures/test_optimization.py",
        ),
    ),
    Fault(
        "libs/services/procedures/panels.py",
        'side="right") - 1',
        'side="left") - 1',
        (
            "tests/unit/services/procedures/test_panels.py",
            "tests/unit/services/procedures/test_optimization.py",
        ),
    ),
    Fault(
        "libs/services/procedures/trials.py",
        "points = [max(1, int(run.metrics.get(POINTS, 1)))",
        "points = [min(1, int(run.metrics.get(POINTS, 1)))",
        ("tests/unit/services/procedures/test_trials.py",),
    ),
    Fault(
        "libs/services/rendering/diagrams.py",
        "len(roots) - NAMED} more",
        "len(roots)} more",
        (
            "tests/unit/services/rendering/test_pictures.py",
            "tests/unit/cli/test_graph.py",
        ),
    ),
    Fault(
        "libs/services/rendering/formatting.py",
        "and not value.is_integer()",
        "",
        (
            "tests/unit/services/rendering/test_pictures.py",
            "tests/unit/services/runs/test_procedures.py",
            "tests/unit/services/procedures/test_hindsight.py",
        ),
    ),
    Fault(
        "cli/output.py",
        "seconds = max(0.0, (now - then)",
        "seconds = min(0.0, (now - then)",
        (
            "tests/unit/cli/test_tables.py",
            "tests/unit/cli/test_app.py",
            "tests/unit/cli/test_live.py",
        ),
    ),
    Fault(
        "cli/tables.py",
        'if flow["status"] != "ERROR":',
        'if flow["status"] == "READY":',
        (
            "tests/unit/cli/test_tables.py",
            "tests/unit/cli/test_app.py",
        ),
    ),
    Fault(
        "cli/waiting.py",
        'if entry["status"] != "READY"]',
        'if entry["status"] == "ERROR"]',
        ("tests/unit/cli/test_waiting.py",),
    ),
    Fault(
        "cli/graph.py",
        "for root in reversed(graph.roots)",
        "for root in graph.roots",
        ("tests/unit/cli/test_graph.py",),
    ),
    Fault(
        "libs/adapters/prefect/schedules.py",
        "return _comparable(wanted) == _comparable(stored)",
        "return True",
        ("tests/unit/adapters/test_prefect_schedules.py",),
    ),
    Fault(
        "libs/adapters/centrifugo/publisher.py",
        "if error.code == 100:",
        "if error.code == 101:",
        ("tests/unit/adapters/test_centrifugo_publisher.py",),
    ),
    Fault(
        "libs/settings.py",
        "if value and (kind not in DATABASE_BLOCKS or not name):",
        "if value and kind not in DATABASE_BLOCKS:",
        ("tests/unit/test_settings.py",),
    ),
)
