"""What the compose files run as they are: an order comes in, a receipt is printed."""

from eventing import CloudEvent, Context, function


@function(reply_type="order.priced")
def price(order: dict) -> dict:
    return {"item": order["item"], "total": 3 * order["amount"]}


@function
def receipt(event: CloudEvent, context: Context) -> None:
    order = event.get_data()
    context.logger.info(f"{order['item']}: {order['total']} EUR")
