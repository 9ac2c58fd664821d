"""A function released in versions: each notes the events it meets, a broken one fails them."""

APP = """
    import os
    from eventing import CloudEvent, Context, function

    journal = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @function
    async def work(event: CloudEvent, context: Context):
        version = os.environ["VERSION"]
        os.write(journal, f"{version} {context.attributes['id']}\\n".encode())
        if version.startswith("broken"):
            raise RuntimeError("this version is broken")
    """
