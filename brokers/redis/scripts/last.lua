-- The id of the newest entry there ever was.
return stream()['last-generated-id']
