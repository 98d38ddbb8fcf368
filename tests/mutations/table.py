"""The table of breakages: a piece of the package, what is put in its place, and who must notice."""

from collections.abc import Iterator
from typing import NamedTuple


class Mutation(NamedTuple):
    """One breakage of the code."""

    file: str
    """File of the package."""
    before: str
    """Piece of its text that is there exactly once."""
    after: str
    """What is put in its place."""
    tests: tuple[str, ...]
    """Files of tests, or single tests, of which one must fail."""
    why: str
    """What the breakage would mean."""

    @property
    def words(self) -> tuple[str, ...]:
        """All text of the row."""
        return (self.file, self.before, self.after, self.why, *self.tests)


def rows(file: str, *changes: tuple[str, str, str, str]) -> Iterator[Mutation]:
    """Yield the breakages of a file: each is its text before and after, tests, and why.

    Tests are written without their folder, with blanks between them.
    """
    for before, after, tests, why in changes:
        named = tuple(f"tests/{name}" for name in tests.split())
        yield Mutation(f"lthray/{file}", before, after, named, why)


BOUNDS = "test_bounds.py"
BOUND = f"{BOUNDS}::test_a_claim_holds_where_the_upper_bound_of_its_mean_is_below_its_margin"
BUDGET = f"{BOUNDS}::test_a_dense_network_is_converged_below_three_per_cent_or_half_a_point"
UPPER = f"{BOUNDS}::test_converged_is_by_the_upper_95_percent_bound_of_the_gain"
KID = f"{BOUNDS}::test_the_margin_of_a_kid_is_a_third_of_what_half_the_steps_lack"
POWER = f"{BOUNDS}::test_a_kid_has_power_from_three_standard_deviations_of_a_a_on"
LEAD = (
    f"{BOUNDS}::test_a_given_network_is_worse_by_what_it_has_more_of_loss_and_kid_and_less_of_"
    "accuracy"
)
PANELS = f"{BOUNDS}::test_what_another_evaluation_set_gave_is_not_compared"
OLDER = f"{BOUNDS}::test_weights_that_have_seen_more_steps_in_one_seed_are_told"
FAST = f"{BOUNDS}::test_a_ticket_that_is_slower_in_most_seeds_is_not_said_to_learn_faster"
TIMED = f"{BOUNDS}::test_both_networks_are_timed_to_the_last_loss_of_the_dense_one"
CELL = (
    f"{BOUNDS}::test_a_cell_is_a_mean_and_its_bound_at_the_level_of_its_test_starred_where_the_"
    "claim_holds"
)
ONE = f"{BOUNDS}::test_one_network_matches_by_the_one_sided_error_of_its_evaluation"
ARMS = (
    f"{BOUNDS}::test_an_arm_is_a_control_its_noise_and_its_stream_and_a_dense_control_is_no_second_"
    "network"
)
SPECS = "test_specs.py"
SHARES = "test_shares.py"
RANKING = "test_ranking.py"
GRADES = "test_verdicts.py::test_grades_are_two_words"
WINNING = (
    "test_verdicts.py::test_winning_is_to_match_the_own_dense_network_and_to_beat_both_controls"
)
SAMPLES = (
    "test_verdicts.py::test_samples_win_under_every_sampler_against_dense_network_and_controls"
)
POWERLESS = "test_verdicts.py::test_without_power_a_kid_decides_nothing_and_is_said_to"
FAILURES = (
    "test_verdicts.py::test_trials_that_failed_count_against_the_claims_they_would_have_supported"
)
REPEATED = "test_verdicts.py::test_a_failure_that_another_trial_has_made_up_for_does_not_count"
LOST_ARM = "test_verdicts.py::test_an_arm_whose_every_seed_failed_still_stands_in_the_family"
PLANNED = "test_verdicts.py::test_a_failed_trial_counts_at_the_densities_that_it_was_to_come_to"
OWN_LADDER = "test_verdicts.py::test_a_failed_ticket_counts_down_its_own_ladder_alone"
FAMILY = "test_verdicts.py::test_the_size_of_the_family_does_not_change_by_which_tickets_fail"
MARGINS = "test_verdicts.py::test_the_margin_of_a_page_can_be_multiplied"
LOOKS = "test_verdicts.py::test_looks_are_calls_on_some_of_the_seeds_but_not_on_all"
ALIKE = "test_verdicts.py::test_a_look_is_at_the_same_recipe_and_setting_and_no_search"
SECOND = "test_verdicts.py::test_a_second_look_is_judged_at_what_is_left_of_the_level_and_says_so"
LEVELS = "test_verdicts.py::test_levels_of_all_looks_sum_to_less_than_five_per_cent"
REFERENCE = (
    "test_verdicts.py::test_the_converged_budget_is_the_shortest_and_else_the_longest_stands_for_it"
)
LONGEST = "test_verdicts.py::test_no_ticket_matches_a_converged_network_where_none_is_shown_to_be"
TOGETHER = "test_verdicts.py::test_own_and_converged_are_matched_together_where_they_are_one"
POINTS = "test_verdicts.py::test_classifiers_are_judged_by_their_accuracy_in_points"
ACCURACY = "test_verdicts.py::test_the_margin_of_accuracy_is_never_below_what_chance_does"
RATIOS = "test_verdicts.py::test_differences_of_losses_are_ratios"
CHANCE = "test_verdicts.py::test_the_noise_floor_is_of_dense_networks_among_themselves"
EQUAL = "test_verdicts.py::test_a_dense_network_of_equal_compute_stands_beside_the_ticket"
WORDS = "test_verdicts.py::test_sentences_say_how_few_and_whether_controls_were_trained"
AGREEMENT = "test_agreement.py"
STEPS_OF_HOLM = "test_registry.py::test_levels_are_holms_steps_and_stay_where_the_first_claim_fails"
FOUND = "test_registry.py::test_what_can_be_found_is_at_the_level_of_the_claim"
LOST = "test_registry.py::test_seeds_that_are_lost_support_nothing"
OUTLIER = "test_registry.py::test_an_outlier_is_told"
SEEDS = "test_statistics.py::test_the_mean_of_seeds_is_statsmodels"
SURVEY = "test_frequency.py::test_one_way_clusters_give_the_interval_of_r_survey"
COUNTED = "test_frequency.py::test_a_ticket_wins_that_matches_and_is_the_best_of_both_kinds"
COVERED = (
    "test_frequency.py::test_a_share_is_covered_whichever_of_recipe_and_seed_makes_outcomes_alike"
)
WORST = "test_frequency.py::test_a_planned_trial_without_a_number_is_the_worst_outcome"
APART = "test_frequency.py::test_negative_controls_are_in_no_share"
RATES = "test_frequency.py::test_base_rates_are_what_exchangeable_networks_do"
MIXED = "test_frequency.py::test_the_mixed_model_is_that_of_statsmodels"
ASSOCIATED = "test_designs.py::test_associations_are_those_of_scipy"
DRAWS = "test_recipe.py::test_draws_of_a_control_share_the_chain_and_are_trained_apart"
RATIO = "test_statistics.py::test_the_error_of_an_excess_is_that_of_a_ratio_of_means_by_hand"
CURVES = "test_statistics.py::test_a_target_is_reached_once_and_for_all"
DEPENDENCE = "test_statistics.py::test_the_dependence_of_pairs_is_that_of_a_simulation"
SPENT = "test_recipe.py::test_what_was_spent_is_all_training_that_mask_and_weights_come_from"

CLAIMS = rows(
    "findings/claims.py",
    (
        "Statement(FASTER, place, ratios, cell.planned)",
        "Statement(FASTER, place, ratios, cell.planned, 1.0)",
        BOUND,
        "a ticket that needs up to e times the steps learns faster",
    ),
    (
        "found[seed] = ticket - other",
        "found[seed] = other - ticket",
        BOUND,
        "worse samples are better ones",
    ),
    (
        "Statement(better(name), place, worse, cell.planned)",
        "Statement(better(name), place, worse, cell.planned, margin)",
        BOUND,
        "a ticket that is a little worse is better",
    ),
    (
        "less = {seed: -value for",
        "less = {seed: value for",
        BOUND,
        "a ticket that is better is beaten",
    ),
    (
        "Statement(samples(sampler), place, worse, cell.planned, margin)",
        "Statement(samples(sampler), place, worse, cell.planned)",
        BOUND,
        "samples match only where they are better",
    ),
    (
        "margin if evidence.accurate else math.log1p(margin)",
        "margin",
        BOUND,
        "a log-ratio is held to a margin in per cent",
    ),
    (
        "Registry(family_of(settings, margins), level_of(look))",
        "Registry(family_of(settings, margins))",
        SECOND,
        "seeds are added until a page wins",
    ),
    (
        "times * each.margin",
        "each.margin",
        MARGINS,
        "all margins of a page are one",
    ),
    (
        "Statement(matches(name), place, worse, cell.planned, margin)",
        "Statement(matches(name), place, worse, len(worse), margin)",
        FAILURES,
        "tickets that failed are forgotten",
    ),
    (
        "Statement(better(contrast.control), place, worse, cell.planned)",
        "Statement(better(contrast.control), place, worse, len(worse))",
        FAILURES,
        "controls that failed are forgotten",
    ),
    (
        "samplers(cell) if cell.tickets else all_samplers(evidence)",
        "samplers(cell)",
        FAMILY,
        "the claims on samples go with the last ticket",
    ),
    (
        "if any(r.curve for r in evidence.dense.values()):",
        "if ratios:",
        FAMILY,
        "the claim on speed goes with the last ticket",
    ),
    (
        "if worse or not all((cell.tickets, rounds)):",
        "if worse:",
        FAMILY,
        "the claims on samples of controls go with the last ticket",
    ),
    ("outcomes.append(all(held))", "outcomes.append(any(held))", SAMPLES, "any part is enough"),
    (
        "return all(outcomes) if",
        "return any(outcomes) if",
        SAMPLES,
        "one good sampler of several is enough",
    ),
    ("SAMPLERS = 2", "SAMPLERS = 1", SAMPLES, "samples of one sampler are enough"),
    (
        "is None:\n                continue",
        "is None:\n                return None",
        POWERLESS,
        "a sampler without power takes a win from others",
    ),
    (
        "name.replace(CONVERGED, LONGEST)",
        "name",
        LONGEST,
        "the longest network is called converged",
    ),
    (
        "if OWN in names and steps == self.evidence.steps:",
        "if OWN in names:",
        AGREEMENT,
        "a match with the own network is one with the converged",
    ),
    (
        "if OWN in names and steps == self.evidence.steps:",
        "if False:",
        TOGETHER,
        "a converged own network is not called so",
    ),
    (
        "return OWN in self.matched(recipe, density) and self.shown",
        "return OWN in self.matched(recipe, density) or self.shown",
        WINNING,
        "a match alone is a win",
    ),
)

COMPARATORS = rows(
    "findings/comparators.py",
    ("GAIN = 0.03 ", "GAIN = 0.025 ", BUDGET, "dense networks are undertrained sooner"),
    (
        "st.upper_bound(gained) < most",
        "sum(gained) / len(gained) < most",
        UPPER,
        "a network is converged that is so on average alone",
    ),
    (
        "POINTS if evidence.accurate else -math.log(1 - GAIN)",
        "-math.log(1 - GAIN)",
        BUDGET,
        "a classifier that gains three points is converged",
    ),
    (
        "in sorted(evidence.budgets) if",
        "in sorted(evidence.budgets, reverse=True) if",
        REFERENCE,
        "the longest converged budget stands for the shortest",
    ),
    (
        "in evidence.budgets.items() if len(dense) > 1]",
        "in evidence.budgets.items() if dense]",
        REFERENCE,
        "one seed is the reference",
    ),
    (
        "if reference(evidence) != evidence.steps:",
        "if reference(evidence) > evidence.steps:",
        "test_convergence.py",
        "a ticket of more steps is not set beside the converged network",
    ),
    (
        "if EQUAL_COMPUTE in cell.planned_arms:",
        "if EQUAL_COMPUTE in cell.arms:",
        LOST_ARM,
        "a rival that failed is none",
    ),
    (
        "if contrast.control in cell.planned_arms]",
        "if contrast.control in cell.arms]",
        LOST_ARM,
        "controls that all failed were not tried",
    ),
    (
        "for contrast in NEEDED} <= {c.control for c in controls(cell)}",
        "for contrast in NEEDED} & {c.control for c in controls(cell)} != set()",
        WORDS,
        "more is claimed with one of two controls",
    ),
)

FLOORS = rows(
    "findings/floors.py",
    ("PART = 3 ", "PART = 2 ", KID, "half of what training gains in KID is nothing"),
    ("LOUD = 3 ", "LOUD = 2 ", POWER, "a KID decides that chance moves as much"),
    ("plain.stdev(noise)", "plain.pstdev(noise)", POWER, "the noise of few seeds is too small"),
    (
        "evidence.budgets.get(evidence.steps // 2, {})",
        "evidence.budgets.get(evidence.steps * 2, {})",
        KID,
        "the margin of a KID is what more training gains",
    ),
    (
        " / st.dependence(len(evidence.dense), len(evidence.again))",
        "",
        CHANCE,
        "pairs of few networks are taken for independent ones",
    ),
    ("(a - b) / b if relative else a - b", "a - b", CHANCE, "chance in the loss is not relative"),
    (
        "return pairs + list(combinations(evidence.dense.values(), 2))",
        "return pairs",
        CHANCE,
        "chance leaves out the difference between seeds",
    ),
    (
        "target = dense[-1][1]",
        "target = min(loss for _, loss in dense)",
        TIMED,
        "a ticket is timed to the best loss of the dense network, not to its last",
    ),
    (
        "plain.fmean(other - value for other in others)",
        "plain.fmean(value - other for other in others)",
        LEAD,
        "a given classifier that is better is worse",
    ),
    (
        "own[kid_of(sampler)] - plain.fmean(kids)",
        "plain.fmean(kids) - own[kid_of(sampler)]",
        LEAD,
        "a given network with better samples has worse ones",
    ),
)

REGISTRY = rows(
    "findings/registry.py",
    (
        "level = self.alpha / (len(self.family) - step)",
        "level = self.alpha / len(self.family)",
        STEPS_OF_HOLM,
        "Bonferroni is said to be Holm",
    ),
    (
        "failed = self.family[key].p >= level",
        "failed = False",
        STEPS_OF_HOLM,
        "claims after one that fails are tested at larger levels",
    ),
    (
        "return len(self.finite) == self.planned > 1",
        "return len(self.finite) > 1",
        LOST,
        "seeds in which a ticket never gets there are left out",
    ),
    (
        "return self.bound < self.statement.margin",
        "return self.statement.mean < self.statement.margin",
        BOUND,
        "a claim holds by its mean alone",
    ),
    ("1 - self.level)", "1 - ALPHA)", BOUND, "bounds are those of single claims"),
    (
        'st.t_test(self.finite, "less", shift=self.margin)',
        'st.t_test(self.finite, "less")',
        BOUND,
        "p of matching is that of being better",
    ),
    (
        'st.sign_flip(self.finite, "less", shift=self.margin)',
        'st.sign_flip(self.finite, "less")',
        BOUNDS,
        "p of sign flips forgets the margin",
    ),
    ("DISAGREE = 3.0 ", "DISAGREE = 300.0 ", OUTLIER, "no outlier is told"),
    (
        "plain.stdev(values), alpha=self.level)",
        "plain.stdev(values))",
        FOUND,
        "a claim among many is said to find what one alone does",
    ),
)

EVIDENCE = rows(
    "findings/evidence.py",
    (
        "len(recorded.metrics) < len(dense.metrics)",
        "len(recorded.metrics) > len(dense.metrics)",
        SAMPLES,
        "of two records of a dense network the one without samples is taken",
    ),
    (
        '(point.control, point.config.get("rewind.rule")) == SECOND_DENSE',
        'point.control == "dense"',
        ARMS,
        "a dense control that was rewound says what chance alone does",
    ),
    (
        "words.append(f\"{point.config['sigma']:g}\")",
        "pass",
        ARMS,
        "tickets moved by much and by little overwrite each other",
    ),
    (
        'PANEL = ("split", "images", "timesteps")',
        'PANEL = ("split", "images")',
        PANELS,
        "losses at different timesteps are compared",
    ),
    (
        "return tuple(trial.point.data), *chosen",
        "return trial.point.data[0], *chosen",
        PANELS,
        "different data of one name are compared",
    ),
    (
        "and task_of(trial.point.config) == task",
        "",
        f"{BOUNDS}::test_a_given_network_of_another_task_is_not_compared",
        "a given network of another task stands beside the tickets",
    ),
    (
        "budgets.setdefault((evidence.but_for_steps, evidence.panel), {})",
        "budgets.setdefault((evidence.but_for_steps, ()), {})",
        PANELS,
        "dense networks of twice the steps are measured on other images",
    ),
    (
        "if point.seed not in cell.arms.get(arm, {}):",
        "if True:",
        REPEATED,
        "a trial that was run again has failed for good",
    ),
    (
        'point.config.get("rungs") or range(len(ladder))',
        "range(len(ladder))",
        PLANNED,
        "a control fails where it was never to be trained",
    ),
    (
        'point.config.get("prune.ladder", Prune().ladder)',
        "Prune().ladder",
        OWN_LADDER,
        "a ticket fails at densities that it was never to come to",
    ),
    (
        "return len(self.tickets.keys() | self.failed.get(TICKET, set()))",
        "return len(self.tickets)",
        FAILURES,
        "as many tickets were planned as are there",
    ),
)

ROUNDS = rows(
    "findings/rounds.py",
    ("CERTAIN = 1.645 ", "CERTAIN = 1.96 ", ONE, "one network is held to a two-sided bound"),
    ("< margin_of(r)", "<= margin_of(r)", ONE, "a network on the margin is below it"),
    (
        "return POINTS if metrics.LOST.name in r.metrics else MARGIN",
        "return MARGIN",
        ONE,
        "a classifier may lose a whole point and match",
    ),
    ("math.log(a / b)", "a / b - 1", RATIOS, "differences of losses are no ratios"),
    (
        "b - a if metric == metrics.ACCURACY.name",
        "a - b if metric == metrics.ACCURACY.name",
        POINTS,
        "accuracy that is lost is won",
    ),
    (
        "(step, loss) for step, _, loss, *_ in",
        "(step, loss) for step, loss, *_ in",
        TIMED,
        "speed is that of the training loss",
    ),
)

WORDING = (
    *rows(
        "findings/wording.py",
        (
            'star = "*" if tested.holds else ""',
            'star = "*" if claim.mean < claim.margin else ""',
            CELL,
            "a star is given for a mean alone",
        ),
        (
            "if faster and faster.holds:",
            "if faster and faster.statement.mean < 0:",
            FAST,
            "a ticket learns faster that is so on average",
        ),
        (
            'True: ", within the margin"',
            'True: ""',
            EQUAL,
            "a star stands at a rival that is better",
        ),
        (
            "if verdict.shown(recipe, d) != UNTRIED]",
            "]",
            WORDS,
            "controls are spoken of that were never trained",
        ),
        (
            'return f"{shown(claim.mean)} ({claim.seeds})"',
            "return shown(claim.mean)",
            FAILURES,
            "a cell hides how many of its seeds failed",
        ),
    ),
    *rows(
        "findings/phrases.py",
        (
            "steps = max(seen, default=0)",
            "steps = min(seen, default=0)",
            OLDER,
            "older weights are not told where one seed has none",
        ),
        (
            "if converged(evidence):",
            "if True:",
            "test_convergence.py::test_the_longest_budget_stands_for_one_that_was_not_reached",
            "the longest network is told to be converged",
        ),
    ),
)

SPENDING = rows(
    "findings/power.py",
    (
        "return ALPHA * FIRST * (1 - FIRST) ** (look - 1)",
        "return ALPHA * FIRST",
        LEVELS,
        "every look spends the whole level",
    ),
    (
        "FIRST = 0.8 ",
        "FIRST = 1.0 ",
        SECOND,
        "nothing is left for a second look",
    ),
)

STATISTICS = rows(
    "findings/stats.py",
    (
        "scipy.stats.t.ppf((1 + level) / 2, df)",
        "scipy.stats.t.ppf(level, df)",
        SEEDS,
        "an interval of two sides has the quantile of one",
    ),
    (
        "scipy.stats.t.ppf(level, df)",
        "scipy.stats.norm.ppf(level)",
        SEEDS,
        "few seeds are taken for many",
    ),
    ("rest.std(ddof=1)", "rest.std()", SEEDS, "the spread of few seeds is too small"),
    (
        "np.arange(len(p), 0, -1)",
        "np.full(len(p), len(p))",
        "test_statistics.py::test_holm_is_statsmodels",
        "Bonferroni is said to be Holm",
    ),
    (
        "influence = (a - (1 + excess) * b)",
        "influence = (a - b)",
        RATIO,
        "the error of an excess is that of a difference",
    ),
    (
        "np.sqrt(len(a))",
        "np.sqrt(losses.size)",
        RATIO,
        "timesteps of one image count as images",
    ),
    (
        "wanted = share * (1 - share) * narrower**2",
        "wanted = share * (1 - share)",
        SURVEY,
        "few clusters are taken for many",
    ),
    (
        "scipy.special.betaincinv(won, lost + 1, tail)",
        "scipy.special.betaincinv(won + 1, lost, tail)",
        SURVEY,
        "the lower end of a share is too high",
    ),
    (
        "~np.asarray(observed, dtype=bool)",
        "np.asarray(observed, dtype=bool)",
        "test_statistics.py::test_survival_is_statsmodels",
        "trials that never failed are failures",
    ),
    (
        "self.survival <= 0.5 + 1e-12",
        "self.survival < 0.5 - 1e-12",
        "test_statistics.py::test_edges",
        "half is not yet half",
    ),
    (
        "np.quantile(np.abs(differences), q)",
        "np.quantile(differences, q)",
        "test_statistics.py::test_a_noise_floor_is_a_quantile_of_sizes",
        "chance has one side",
    ),
    (
        "best = np.minimum.accumulate(loss)",
        "best = loss",
        CURVES,
        "what was reached is lost again",
    ),
    ("if best[-1] > target:", "if best[-1] >= target:", CURVES, "a target that is met is missed"),
    (
        "np.hstack([among, apart])",
        "among",
        DEPENDENCE,
        "second networks tell nothing of chance",
    ),
)

FREQUENCY = (
    *rows(
        "findings/frequency.py",
        (
            "self.excess < each.min(-1)",
            "self.excess < each.max(-1)",
            COUNTED,
            "one control is enough",
        ),
        (
            "np.where(np.isfinite(draws), draws, -np.inf)",
            "np.where(np.isfinite(draws), draws, np.inf)",
            WORST,
            "a control that failed is beaten",
        ),
        (
            "np.where(lost, np.inf, excess)",
            "np.where(lost, -np.inf, excess)",
            WORST,
            "a ticket that failed wins",
        ),
        (
            "1 / (1 + each.shape[-1])",
            "1 / each.shape[-1]",
            RATES,
            "the ticket is not among its rivals",
        ),
        (
            "if words[word] == rule]",
            "if words[word] == rule and False]",
            APART,
            "what cannot win is in the denominator",
        ),
        (
            "variance = max(ways.max(), ways.sum() - _between(off.ravel()))",
            "variance = ways[0]",
            COVERED,
            "trajectories of one seed are independent",
        ),
    ),
    *rows(
        "findings/effects.py",
        (
            "recipe = between - noise / seeds",
            "recipe = between",
            MIXED,
            "noise of seeds is a spread of recipes",
        ),
        (
            ")) / spare  # of means",
            ")) / len(means)  # of means",
            MIXED,
            "coefficients cost nothing",
        ),
    ),
    *rows(
        "findings/survival.py",
        (
            "np.isnan(times) & ~rung",
            "~rung",
            "test_frequency.py::test_survival_is_of_matching_and_not_of_winning",
            "the last failure is the first",
        ),
    ),
    *rows(
        "study/design.py",
        (
            "columns = _ranks(values)[:, None]",
            "columns = np.array(values)[:, None]",
            ASSOCIATED,
            "two numbers go together by a line alone",
        ),
        (
            "least = max(min(a.shape[1], b.shape[1]), 1)",
            "least = 1",
            ASSOCIATED,
            "words of many values go together more",
        ),
    ),
)
"""How often tickets win, and over what."""

KEYS = (
    *rows(
        "core/keys.py",
        (
            "[kind, version, spec, parents]",
            "[kind, version, spec, sorted(parents)]",
            SPECS,
            "a ticket over its dense network has the key of the reverse",
        ),
        (
            "sort_keys=True, separators",
            "separators",
            "test_store.py::test_keys_depend_on_kind_version_spec_and_parents",
            "one thing has two keys",
        ),
    ),
    *rows(
        "trial/steps.py",
        (
            "VERSIONS[self.kind], self.spec, *parents",
            "1, self.spec, *parents",
            "test_recipe.py::test_a_key_is_of_kind_version_spec_and_parents",
            "numbers of an older version are taken for new ones",
        ),
        (
            'if step.kind in ("control", "choose"):\n        return history(step.parents[0])',
            'if step.kind in ("control", "choose"):\n        return 0',
            SPECS,
            "moved weights have seen no training",
        ),
        (
            "        yield from step.parents\n",
            "        yield step.parents[0]\n",
            SPENT,
            "finding the mask costs nothing",
        ),
        (
            'key_of("alike", 1, shared, step.parents[1].key)',
            'key_of("alike", 1, shared)',
            "test_recipe.py::test_runs_that_may_train_in_one_program_"
            "differ_in_begin_mask_and_stream_alone",
            "runs on different latents are trained on one of them",
        ),
    ),
    *rows(
        "trial/recipe.py",
        (
            "seeded, BUDGETS[c.prune.budget].asks, beside",
            "seeded, beside",
            SPECS,
            "a mask by the images of one seed is that of another",
        ),
        (
            'spec |= c.canonical("rewind")',
            "pass",
            SPECS,
            "masks of different initial weights are one",
        ),
        (
            '        spec.pop("prune.ladder", None)\n',
            "",
            SPECS,
            "a first rung is another by what comes after it",
        ),
        (
            'last.index if c.prune.between == "tickets" else 0',
            "0",
            SPECS,
            "tickets of two seeds are never compared, only dense networks",
        ),
        (
            'spec["at"] = source.span[0] + self.k if',
            'spec["at"] = self.k if',
            SPECS,
            "the anchor of the rung before is at its very start",
        ),
        (
            '"state"] = c.rewind.state if midway else "reset"',
            '"state"] = c.rewind.state',
            SPECS,
            "the first step begins with the moments of no step",
        ),
        (
            "self.sources.init(fresh_seed(c, index, draw))",
            "self.sources.init(fresh_seed(c, 1, draw))",
            SPECS,
            "all rungs are re-initialised with the same weights",
        ),
        (
            '{"mask": row.mask, "seed": fresh_seed(self.config, index, self.config.draw)}',
            '{"mask": row.mask, "seed": SECOND + index}',
            SPECS,
            "all seeds share one shuffle",
        ),
        (
            "SECOND + config.seed * 1000 + index + DRAW * draw",
            "SECOND + config.seed * 1000 + index",
            DRAWS,
            "all draws of a control are one",
        ),
        (
            "draw if row and row.rule else 0",
            "draw",
            DRAWS,
            "a shuffled mask is trained from other weights than the ticket",
        ),
        (
            "SECOND + 1000 * self.config.stream + fork if fork",
            "self.config.stream + fork if fork",
            SPECS,
            "the second run of a seed is on the stream of the next seed",
        ),
        (
            "c.canonical(), digest, given",
            "c.canonical(), given",
            SPECS,
            "different data of one name are one trial",
        ),
    ),
    *rows(
        "trial/sources.py",
        (
            '"span": [start, end]',
            '"span": [0, end]',
            SPENT,
            "a run from the middle of the schedule is one from its start",
        ),
        (
            '            spec |= c.canonical("regime")\n',
            "",
            SPECS,
            "every regime is the first that was run",
        ),
        (
            '{"seed": 0 if is_given else seed}',
            '{"seed": 0 if digest else seed}',
            SPECS,
            "new weights in place of given ones are the given ones",
        ),
        (
            'Step("init", spec | self.shape',
            'Step("init", spec',
            SPECS,
            "weights of one shape are taken for another",
        ),
    ),
    *rows(
        "trial/measuring.py",
        (
            'CURVE = ("measure.split", ',
            "CURVE = (",
            SPECS,
            "curves of validation images are shown for test images",
        ),
        (
            '"measure.timesteps", "measure.checkpoints")',
            '"measure.timesteps")',
            SPECS,
            "a curve of many points is one of few",
        ),
        (
            '"samples": measure.samples, "calls": calls}',
            '"samples": measure.samples}',
            SPECS,
            "samples of many calls are those of few",
        ),
        (
            "dense = roles if rung.index == 0 else self.dense",
            "dense = roles",
            SPECS,
            "every network is compared with itself",
        ),
        (
            'rung.small if rung.small and "network" in row.needs else self.config',
            "self.config",
            SPECS,
            "a narrower network is measured as if layers of another could be cut",
        ),
    ),
    *rows(
        "measure/table.py",
        ('PANEL = ("measure.split", ', "PANEL = (", SPECS, "validation and test losses are one"),
        (
            'Measure(("loss", "dense loss"), excess',
            'Measure(("dense loss", "loss"), excess',
            SPECS,
            "the dense network is worse by what the ticket is",
        ),
    ),
    *rows(
        "trial/trajectory.py",
        (
            "names = {name: step.key for name, step in self.measures.items()}",
            "names = sorted(step.key for step in self.measures.values())",
            SPECS,
            "a round forgets which measure is which",
        ),
        ("lineage(self.shown)", "lineage(self.chain)", SPENT, "a control costs what a ticket does"),
    ),
)

COUNTS = (
    *rows(
        "prune/shares.py",
        ("int((values > -torch.inf).sum())", "values.numel()", SHARES, "what is cut can be kept"),
        (
            "c = (keep - sum(exact.values())) / weights",
            "c = keep / weights",
            SHARES,
            "full layers take nothing from the others' share",
        ),
        (
            "key=lambda name: counts[name] - exact[name]",
            "key=lambda name: exact[name] - counts[name]",
            SHARES,
            "the smallest remainders are rounded up",
        ),
        (
            "if keep > sum(caps.values()):",
            "if keep >= sum(caps.values()):",
            SHARES,
            "all that is left cannot be kept",
        ),
    ),
    *rows(
        "core/ticket.py",
        (
            "return kept.index_fill_(0, order[:count], True)",
            "return flat >= flat[order[:count]].min() if count else kept",
            SHARES,
            "equal scores are kept together, and counts are not exact",
        ),
        (
            "order = torch.sort(flat, stable=True, descending=True).indices",
            "order = torch.sort(flat, stable=True).indices.flip(0)",
            SHARES,
            "of equal scores the last is kept",
        ),
        (
            "(self & other).kept == self.kept",
            "(self & other).kept == other.kept",
            "test_ticket.py::test_mask_algebra",
            "masks that grow are said to nest",
        ),
    ),
)

RESULTS = (
    *rows(
        "study/results.py",
        ("if own < seeds})", "if own <= seeds})", LOOKS, "a page is its own second look"),
        (
            "len({frozenset(own) for own in calls.values() if own < seeds})",
            "len([own for own in calls.values() if own < seeds])",
            LOOKS,
            "one look that is made twice counts as two",
        ),
        (" and trial.point.phase not in UNJUDGED:", ":", ALIKE, "a search is a look"),
        (
            "if setting(trial) + recipe(trial) in recipes and",
            "if recipes and",
            ALIKE,
            "other recipes are looks at this one",
        ),
        (
            "return -len(trial.rounds), score, trial.number",
            "return -len(trial.rounds), -score, trial.number",
            RANKING,
            "the worst trial is the best",
        ),
        (
            "if whole and not (fair and trial.older):",
            "if whole:",
            RANKING,
            "a recipe is best by more training steps",
        ),
        (
            "by_recipe.setdefault((recipe(trial), setting(trial)), trial)",
            "by_recipe.setdefault((trial.point.recipe, setting(trial)), trial)",
            RANKING,
            "recipes of one name are one recipe",
        ),
        (
            "len(trial.rounds) == rungs + 1",
            "len(trial.rounds) >= rungs",
            RANKING,
            "a trial is best that was stopped before its last rung",
        ),
        (
            'whole = trial.point.control == "none" and len',
            "whole = len",
            RANKING,
            "a control is the best recipe",
        ),
        (
            "            break\n        sparsest",
            "            continue\n        sparsest",
            RANKING,
            "a trial matches below a rung that it does not match",
        ),
        (
            'training[r.keys["weights"]] =',
            'training[r.keys["round"]] =',
            RANKING,
            "time of shared training is counted twice",
        ),
        (
            "statistics.stdev(numbers)",
            "statistics.pstdev(numbers)",
            RANKING,
            "the spread of a few trials is too small",
        ),
    ),
    *rows(
        "study/space.py",
        (
            "sum(other <= score for other in earlier)",
            "sum(other < score for other in earlier)",
            RANKING,
            "all of many equal trials go on",
        ),
        (
            "-(-(len(earlier) + 1) // reduction)",
            "-(-len(earlier) // reduction)",
            RANKING,
            "a trial does not count among those that came",
        ),
        (
            "EXCESS.name if index else HELDOUT.name",
            "HELDOUT.name",
            RANKING,
            "tickets are ranked by their loss, whatever their dense network's",
        ),
    ),
)

PINNED = "test_pretrained.py::test_an_id_on_the_hub_is_pinned_to_the_commit_that_was_read"
DELETED = "test_recording.py::test_whatever_is_deleted_in_mlflow_is_there_again_and_once"
TWICE = "test_recording.py::test_a_trial_that_is_recorded_twice_is_read_once"
COLOURS = "test_colours.py"

TRUST = (
    *rows(
        "trial/given.py",
        (
            "places[word] = _pinned(places[word], part)",
            "_pinned(places[word], part)",
            PINNED,
            "workers read what a branch of the Hub is at when they come to it",
        ),
    ),
    *rows(
        "tracking/recorder.py",
        (
            "for other in runs[1:]:",
            "for other in runs[2:]:",
            TWICE,
            "a trial has two runs in MLflow for good",
        ),
        (
            "runs = self._untagged(experiment, trial)",
            "self._untagged(experiment, trial)",
            DELETED,
            "a run that has lost its tag stays beside the one that is made for it",
        ),
    ),
    *rows(
        "tracking/read.py",
        (
            "{trial.id: trial for trial in self._read()}",
            "{trial.run: trial for trial in self._read()}",
            TWICE,
            "one seed that is recorded twice counts as two",
        ),
    ),
    *rows(
        "task/pictures.py",
        (
            "shown = transform.apply(picture.convert(inks))",
            "shown = picture.convert(inks)",
            COLOURS,
            "a colour profile is told, and not applied",
        ),
        (
            "return None if np.abs(before - after).max() <= NEAR else transform",
            "return transform",
            COLOURS,
            "a profile of sRGB itself is told as a conversion",
        ),
    ),
)
"""Where things come from, and what is there once."""

SEARCHED = (
    *rows(
        "findings/discoveries.py",
        (
            "max(found, 1) * ALPHA / len(self.family)",
            "ALPHA",
            "test_registry.py",
            "each exploratory claim is tested by itself",
        ),
        (
            "(adjusted <= ALPHA).sum()",
            "(adjusted <= 2 * ALPHA).sum()",
            "test_registry.py",
            "one in ten of the claims that hold is false",
        ),
    ),
    *rows(
        "findings/chance.py",
        (
            "(n - 0.375) / (n + 0.25)",
            "(n - 0.5) / n",
            "test_searched.py::test_the_best_in_random_order_is_the_mean_over_all_orders",
            "the best of many is said to be flattered by another amount",
        ),
        (
            "scipy.stats.hypergeom.pmf(0, n, ranks, counts)",
            "(1 - ranks / n) ** counts",
            "test_searched.py::test_the_best_in_random_order_is_the_mean_over_all_orders",
            "a random order may try one trial twice",
        ),
    ),
    *rows(
        "findings/forests.py",
        (
            "return self.error < self.blind",
            "return self.error < 2 * self.blind",
            "test_searched.py::test_a_forecast_knows_what_it_was_taught_and_tells_its_error",
            "a forecast that knows nothing is said to be better than the mean",
        ),
    ),
    *rows(
        "study/searched.py",
        (
            "return min((len(past.scores)",
            "return max((len(past.scores)",
            "test_searched.py::test_a_search_is_read_back_as_it_was",
            "trials that were chosen to go on are compared with none that were not",
        ),
        (
            "past[number] = Past(drawn[number].words)",
            "pass",
            "test_searched.py::test_proposals_are_what_the_study_itself_draws_next",
            "proposals are made as if none of the others were tried",
        ),
        (
            "order if ordered else _allowed(dials)",
            "dials",
            "test_searched.py",
            "words are drawn before those that they hang on",
        ),
    ),
)
"""What a search tried, and what is found where many things are tried."""

TABLE = (
    *CLAIMS,
    *COMPARATORS,
    *FLOORS,
    *REGISTRY,
    *EVIDENCE,
    *ROUNDS,
    *WORDING,
    *SPENDING,
    *STATISTICS,
    *FREQUENCY,
    *KEYS,
    *COUNTS,
    *RESULTS,
    *TRUST,
    *SEARCHED,
)
