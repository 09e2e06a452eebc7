-- The target mix: of the kept web and synthetic texts, $synthetic_share are to be synthetic. Texts of the side that has
-- too many are dropped: those of the worst rank first, and within a rank those of the last uid, which is as good as by
-- chance. Texts by people are left alone. What is left of an image ranks as before, without gaps.
WITH sides AS (
    SELECT *, source = 'synthetic' AS is_synthetic
    FROM decided
    WHERE keep AND source IN ('web', 'synthetic')
),

numbered AS (
    SELECT place, is_synthetic, row_number() OVER (PARTITION BY is_synthetic ORDER BY rank, uid, candidate) AS number
    FROM sides
),

counts AS (
    SELECT count(*) FILTER (is_synthetic) AS synthetic, count(*) FILTER (NOT is_synthetic) AS web
    FROM sides
),

surplus AS (
    SELECT place
    FROM numbered, counts
    WHERE number > 1e-6 + CASE -- a side may have so many; 1e-6, because 7 * 0.3 / 0.7 falls short of 3
        WHEN is_synthetic THEN web * $synthetic_share / (1 - $synthetic_share)
        ELSE synthetic * (1 - $synthetic_share) / $synthetic_share
    END
),

mixed AS (
    SELECT *, keep AND place NOT IN (FROM surplus) AS stays
    FROM decided
)

SELECT
    place,
    uid,
    candidate,
    source,
    stays AS keep,
    CASE WHEN stays THEN row_number() OVER (PARTITION BY uid, stays ORDER BY rank) END AS rank,
    CASE WHEN keep AND NOT stays THEN 'mix: too many ' || source ELSE reason END AS reason,
    answered
FROM mixed
