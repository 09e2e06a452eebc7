-- MetaCLIP's balance: of the texts that score at least $threshold, about $per_concept are kept for each concept, so that
-- what the web says most often does not crowd out the rest. A concept is a word or phrase of $concepts; where none are
-- given, a word of three letters or more that at least two texts, and one in 10,000, contain. A text is kept if any of its
-- concepts draws it; each does so with probability $per_concept / its texts. A text without a concept is dropped. What
-- people wrote is kept. Draws depend on uid, candidate and concept alone, so they are the same each time.
-- Kept texts of an image rank by score, best first, and by candidate where it is equal.
WITH judged AS (
    SELECT
        *,
        source = 'human' AS is_human,
        NOT is_human AND coalesce(judge >= $threshold, false) AS takes_part
    FROM captions
),

asked AS (
    SELECT
        list_transform(
            $concepts::VARCHAR[], lambda one: array_to_string(regexp_extract_all(lower(one), '[\pL\pN]+'), ' ')
        ) AS concepts,
        list_sort(list_distinct(list_transform(concepts, lambda one: len(string_split(one, ' '))) || [1])) AS lengths,
        (SELECT count(*) FILTER (takes_part) FROM judged) AS texts
),

phrased AS (
    SELECT
        uid,
        candidate,
        regexp_extract_all(lower(text), '[\pL\pN]+') AS words,
        list_distinct(flatten(list_transform(lengths, lambda length: list_transform(
            range(1, len(words) - length + 2), lambda start: array_to_string(words[start:start + length - 1], ' ')
        )))) AS phrases
    FROM judged, asked
    WHERE takes_part
),

said AS (
    SELECT uid, candidate, unnest(phrases) AS concept
    FROM phrased
),

counted AS (
    SELECT concept, count(*) AS number
    FROM said, asked
    WHERE concepts = [] OR concept IN (SELECT unnest(concepts) FROM asked)
    GROUP BY concept, concepts, texts
    HAVING concepts <> [] OR (length(concept) > 2 AND number >= greatest(2, texts / 10000))
),

drawn AS (
    SELECT
        uid,
        candidate,
        bool_or(md5_number_upper(uid || candidate || concept) / 18446744073709551616.0 < $per_concept / number) AS is_drawn,
        min(number) AS fewest,
        arg_min(concept, (number, concept)) AS rarest
    FROM said INNER JOIN counted USING (concept)
    GROUP BY uid, candidate
),

decided AS (
    SELECT *, is_human OR (takes_part AND coalesce(is_drawn, false)) AS keep
    FROM judged LEFT JOIN drawn USING (uid, candidate)
)

SELECT
    uid,
    candidate,
    keep,
    CASE WHEN keep THEN row_number() OVER (PARTITION BY uid, keep ORDER BY judge DESC NULLS LAST, candidate) END AS rank,
    CASE
        WHEN is_human THEN 'human'
        WHEN judge IS NULL THEN 'no ' || $judge
        WHEN NOT takes_part THEN $judge || ' < ' || $threshold
        WHEN rarest IS NULL THEN 'no concept'
        ELSE CASE WHEN keep THEN 'drawn: ' ELSE 'not drawn: ' END || rarest || ' is in ' || fewest || ' texts'
    END AS reason
FROM decided
