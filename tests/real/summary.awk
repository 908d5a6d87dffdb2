# Sums, counts and longest words by key over a large text, with a log of the progress and a result sorted by key.
BEGIN { OFS = "\t" }
{
    count[$1]++
    sum[$1] += $2 * sqrt(NR % 97)
    if (length($3) > length(longest[$1])) longest[$1] = $3
    letters += gsub(/[aeiou]/, "&", $3)
}
NR % 20000 == 0 {
    printf "%d %.10g %d\n", NR, sum[$1], letters >> "progress.log"
    fflush("progress.log")
}
END {
    number = asorti(count, keys)
    for (i = 1; i <= number; i++) print keys[i], count[keys[i]], sprintf("%.12g", sum[keys[i]]), longest[keys[i]]
    print "lines", NR, "letters", letters
    exit 5
}
