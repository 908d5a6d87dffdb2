#!/bin/sh
# Counts to $1 (a million unless told otherwise), and keeps a memo of how far it has come: a program for the component memo.
number=0
[ -s "$MEMO" ] && read -r number < "$MEMO"
while [ "$number" -lt "${1:-1000000}" ]; do
  number=$((number + 1))
  echo "$number" > "$MEMO.mine" && mv "$MEMO.mine" "$MEMO"
done
echo "counted to $number"
