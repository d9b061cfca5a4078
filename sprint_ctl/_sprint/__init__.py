"""Code that runs inside a Sprint process, on the interpreter that Sprint embeds."""
